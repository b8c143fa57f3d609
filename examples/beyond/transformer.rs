//! A small decoder that reads Shakespeare character by character, trained by plain SGD on the cross-entropy.
//!
//! The paper has no transformers. Normalization layers, attention and tied embeddings are all in it here; dropout is
//! off, so that the loss that is measured is the loss that is trained.

use burn::module::Module;
use burn::tensor::{Device, Int, Tensor};
use burn_sharpness::observe::Measure;
use serde::Serialize;

use crate::Options;
use crate::experiment::images::ImageOptions;
use crate::experiment::run::{Job, Stream};
use crate::experiment::schedule::{Schedule, Stage};
use crate::experiment::update::{Optimized, Optimizer};
use crate::experiment::verdict::Verdicts;
use crate::report::{self, NEAR, Panel, SHARPNESS, inside, text};
use crate::support::error::Result;
use crate::support::networks::language_model::{LanguageModel, LanguageModelConfig};
use crate::support::text::Text;

const NAME: &str = "transformer";

/// Everything that determines a run.
#[derive(Serialize)]
struct Setting<'a> {
    data: &'a str,
    network: &'a str,
    schedule: &'a Schedule,
    seed: u64,
}

/// Characters before the one that is predicted.
const CONTEXT: usize = 32;

pub fn run(options: &Options) -> Result<()> {
    let images = &options.images;
    let device = images.device.open()?.autodiff();
    let quick = images.is_quick();
    let text = Text::shakespeare();
    let n = images.samples.unwrap_or(if quick { 512 } else { text.n_windows(CONTEXT) });
    let data = text.windows(n, CONTEXT, &device)?;
    let config = LanguageModelConfig::new(text.vocabulary.len(), CONTEXT).with_dropout(0.0);
    let (width, n_layers) = if quick { (32, 2) } else { (64, 3) };
    let config = config.with_d_model(width).with_d_ff(2 * width).with_n_layers(n_layers);
    let stage = match quick {
        true => Stage { steps: 2500, lr: 0.5, batch_size: 16 },
        false => Stage { steps: 60_000, lr: 0.2, batch_size: 16 },
    };
    let stage = options.applied_to(stage, n);
    println!("== {NAME} ==");
    println!("data:    {n} windows of {CONTEXT} characters of \"As You Like It\"");
    let network = format!("decoder with {n_layers} layers of width {width}");
    println!("network: {network}");
    let panel = train(images, (stage, quick), &network, model(&config, images, &device), &data)?;
    let panels = [panel];
    report::print_table(&panels, &SHARPNESS, "2/η");
    let title = format!(
        "{n} windows of Shakespeare, {network}, η = {}, b = {}",
        stage.lr, stage.batch_size
    );
    let folder = images.folder("beyond").join(NAME);
    let chart = report::chart(title, "sharpness / (2/η)", &panels, &SHARPNESS);
    report::save(&chart, &folder, NAME)?;
    verdicts(&panels[0]).finish(&folder)
}

/// The network at its start. burn draws the weights on the device: a seed means the same network on the same device.
fn model(config: &LanguageModelConfig, options: &ImageOptions, device: &Device) -> LanguageModel {
    device.seed(Stream::Weights.seed(options.seed));
    let model = config.init(device);
    // A parameter is drawn when it is first used: all of them now, in the order of the module.
    model.clone().map(&mut Drawn)
}

struct Drawn;

impl burn::module::ModuleMapper for Drawn {
    fn map_float<const D: usize>(
        &mut self,
        param: burn::module::Param<Tensor<D>>,
    ) -> burn::module::Param<Tensor<D>> {
        let _ = param.val();
        param
    }
}

fn train(
    options: &ImageOptions,
    (stage, quick): (Stage, bool),
    network: &str,
    model: LanguageModel,
    data: &Tensor<2, Int>,
) -> Result<Panel> {
    let rows = if quick { 20 } else { 100 };
    let schedule = Schedule::of(stage, rows);
    // The whole text costs as much as hundreds of steps.
    let full_every = 2 * schedule.every;
    let schedule = Schedule { num_batches: 4, full_every, ..schedule };
    let [n, _] = data.dims();
    let data_name = format!("{n} windows of {CONTEXT} characters");
    let setting = Setting { data: &data_name, network, schedule: &schedule, seed: options.seed };
    let path =
        options.folder("beyond").join(NAME).join(format!("lr{}_b{}", stage.lr, stage.batch_size));
    let title = format!("{data_name}, {network}, SGD, η = {}, b = {}", stage.lr, stage.batch_size);
    let loss = |model: &LanguageModel, tokens: Tensor<2, Int>| model.loss(tokens);
    let job = Job {
        folder: &path,
        title: &title,
        setting: &setting,
        schedule: &schedule,
        seed: options.seed,
        device: options.device.name(),
        data,
        loss,
    };
    let done = job.run(model, &mut Optimized::new(Optimizer::Sgd, loss))?;
    Ok(Panel {
        name: format!("η = {}, b = {}", stage.lr, stage.batch_size),
        batch_size: stage.batch_size,
        edge: 2.0 / stage.lr,
        history: done.history,
        seconds: done.seconds,
    })
}

fn verdicts(panel: &Panel) -> Verdicts {
    let mut verdicts = Verdicts::default();
    let [mini, batch, full] =
        [Measure::MiniBatchSharpness, Measure::BatchSharpness, Measure::FullBatchSharpness];
    let statements = [
        (&mini, (1.0, 2.0), "mini-batch sharpness settles between 2/η and 2·2/η"),
        (&batch, NEAR, "batch sharpness settles at 2/η (within 15%)"),
        (&full, (0.1, 1.0), "full-batch sharpness settles between 0.1 and 1 times 2/η"),
    ];
    for (measure, range, statement) in statements {
        let level = panel.level(measure);
        let parts: Vec<bool> = level.iter().map(|level| inside(level, range)).collect();
        verdicts.add(statement, parts, text(level.as_ref()));
    }
    let rises: Vec<(f64, f64)> = [&mini, &full]
        .iter()
        .filter_map(|measure| Some((panel.first(measure)?, panel.level(measure)?.mean)))
        .collect();
    verdicts.add(
        "progressive sharpening: mini-batch and full-batch sharpness settle at more than twice what they start at",
        rises.iter().map(|(first, level)| *level > 2.0 * first),
        rises.iter().map(|(a, b)| format!("{a:.3} to {b:.3}")).collect::<Vec<_>>().join(", "),
    );
    verdicts
}
