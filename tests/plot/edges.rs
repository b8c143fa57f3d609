//! Histories that are hard to draw.

use burn_sharpness::Error;
use burn_sharpness::observe::{History, Measure, PhaseName, Row, RowPhase, Spectrum, Value};
use burn_sharpness::plot::{self, Density};

use crate::histories::{self, of};
use crate::vectors::Svg;

fn drawn(rows: Vec<Row>) -> Svg {
    let svg = Svg::of(&plot::training(&of(rows)).unwrap());
    let (width, height) = svg.size();
    assert!(width == 960.0 && height > 150.0 && height < 2000.0, "{height}");
    // All text is on the paper.
    for w in &svg.words {
        assert!((0.0..=width).contains(&w.x) && (0.0..=height).contains(&w.y), "{w:?}");
    }
    svg
}

fn with(step: usize, measure: Measure, mean: f64) -> Row {
    let mut row = Row::at(step);
    row.values.insert(measure, Value::of(mean));
    row
}

fn with_loss(step: usize, loss: f64) -> Row {
    let mut row = Row::at(step);
    row.loss = Some(loss);
    row
}

fn below(threshold: f64, mut row: Row) -> Row {
    row.threshold = Some(threshold);
    row
}

#[test]
fn nothing_to_draw_is_an_error_that_says_so() {
    let empty = History::default();
    let only_steps = of(vec![Row::at(0), Row::at(10)]);
    for history in [&empty, &only_steps] {
        for error in [
            plot::training(history).unwrap_err(),
            plot::groups(history).unwrap_err(),
            plot::gap_law(history).unwrap_err(),
            plot::spectrum(history).unwrap_err(),
            plot::save_all(history, std::env::temp_dir()).unwrap_err(),
        ] {
            assert!(matches!(error, Error::NothingToDraw { .. }), "{error}");
            assert!(error.to_string().contains("measure"), "{error}");
        }
    }
}

#[test]
fn one_row_is_a_picture() {
    for i in [0, 7] {
        let row = histories::full(20).rows()[i].clone();
        let svg = drawn(vec![row]);
        assert!(svg.says("2/η = 16") && svg.says("bars: 95% intervals"));
        assert!(svg.says(&format!("step {}", 100 * i)));
    }
    assert!(drawn(vec![with(0, Measure::FullBatchSharpness, 0.0)]).says("full-batch"));
}

#[test]
fn losses_alone_are_a_picture() {
    let row = |i: usize| with_loss(i, 1.0 / (i + 1) as f64);
    let svg = drawn((0..50).map(row).collect());
    assert!(svg.says("loss") && !svg.says("curvature"));
    // Negative ones too, as those of a likelihood.
    let row = |i: usize| with_loss(i, 0.5 - 0.1 * i as f64);
    assert!(drawn((0..50).map(row).collect()).says("-4"));
}

#[test]
fn quantities_at_steps_of_their_own_are_drawn_at_them() {
    let rows = vec![
        with(10, Measure::StepSharpness, -4.0),
        with(15, Measure::FullBatchSharpness, 8.0),
        with(30, Measure::StepSharpness, 2.0),
        with(55, Measure::FullBatchSharpness, 6.0),
    ];
    let svg = drawn(rows);
    let (across, up) = (svg.distances(), svg.heights((0.0, 1000.0)));
    // The first look is a line through discs; two of its points are dots.
    let full = [(15.0, 8.0), (55.0, 6.0)].map(|(step, value)| (across(step), up(value)));
    let dots = svg.dots();
    for at in full {
        assert!(
            dots.iter().any(|d| (d.0 - at.0).abs() < 0.3 && (d.1 - at.1).abs() < 0.3),
            "{at:?} in {dots:?}"
        );
    }
}

#[test]
fn many_rows_are_thinned_and_the_picture_says_so() {
    let svg = drawn(histories::full(3000).rows().to_vec());
    assert!(svg.says("one dot of 10 is shown") && svg.says("thin lines: single rows"));
    let dots = svg.dots().iter().filter(|dot| dot.1 > 100.0).count();
    let outside =
        svg.words.iter().find_map(|w| w.words.split("triangles: ").nth(1).map(String::from));
    let outside: usize = outside.map_or(0, |text| text.split(' ').next().unwrap().parse().unwrap());
    assert_eq!(dots + outside, 4800);
    assert!(svg.text.len() < 600_000, "{}", svg.text.len());
    let groups = Svg::of(&plot::groups(&histories::layers(80, 2000)).unwrap());
    assert!(groups.text.len() < 1_000_000, "{}", groups.text.len());
}

#[test]
fn values_of_any_size_and_sign_are_drawn() {
    let sizes = [0.0, 1e-300, -1e-300, 1e-9, 1.0, -1.0, 1e9, 1e300, -1e300, f64::MAX, f64::MIN];
    for first in sizes {
        for second in sizes {
            let mut rows = vec![
                with(0, Measure::MiniBatchSharpness, first),
                with(1, Measure::MiniBatchSharpness, second),
            ];
            for row in &mut rows {
                row.loss = Some(second);
                row.threshold = Some(first);
                row.learning_rate = Some(row.step as f64 + 1e-3);
                row.spectrum =
                    Some(Spectrum { nodes: vec![first, second], weights: vec![0.5, 0.5] });
            }
            drawn(rows.clone());
            let history = of(rows);
            match plot::spectrum(&history) {
                Ok(picture) => drop(Svg::of(&picture)),
                // Beyond all that a computation gives.
                Err(error) => assert!(matches!(error, Error::NonFinite { .. }), "{error}"),
            }
            for row in history.rows() {
                let group = with(row.step, Measure::Group("a".into()), row.loss.unwrap());
                Svg::of(&plot::groups(&of(vec![group])).unwrap());
                let gap = with(row.step, Measure::Gap(7), row.loss.unwrap());
                let _ = plot::gap_law(&of(vec![gap])).map(|picture| Svg::of(&picture));
            }
        }
    }
}

#[test]
fn a_divergence_does_not_flatten_what_came_before() {
    let mean = |i: usize| if i < 35 { 0.4 * i as f64 } else { 16.0 * 10f64.powi(i as i32 - 34) };
    let row = |i: usize| below(16.0, with(10 * i, Measure::FullBatchSharpness, mean(i)));
    let svg = drawn((0..40).map(row).collect());
    for number in ["1", "10", "100", "1000"] {
        assert!(svg.words.iter().any(|w| w.words == number), "{number}");
    }
    assert!(svg.says("lines leave the axis")); // the zero at the start
}

#[test]
fn a_threshold_far_away_is_said_not_drawn() {
    let row = |i: usize| below(-500.0, with(i, Measure::FullBatchSharpness, 1.0 + i as f64));
    assert!(drawn((0..9).map(row).collect()).says("the threshold leaves the axis"));
}

#[test]
fn long_and_strange_names_stay_on_the_paper() {
    let name = "<script>\"&'\u{1b}[31m\n".to_string() + &"λ".repeat(300);
    let row = with(3, Measure::Custom(name.clone()), 1.0);
    let svg = drawn(vec![row]);
    assert!(svg.says("<script>\"&") && svg.says("…"));
    let group = with(3, Measure::Group(name.clone()), 1.0);
    let picture = plot::groups(&of(vec![group])).unwrap().with_title(name.repeat(3));
    assert!(Svg::of(&picture).says("…"));
}

#[test]
fn short_phases_are_in_the_legend() {
    let phase = |name, since| Some(RowPhase { name, since });
    let mut rows = histories::full(200).rows().to_vec();
    rows.iter_mut().for_each(|row| row.phase = None);
    rows[0].phase = phase(PhaseName::Sharpening, Some(0));
    rows[100].phase = phase(PhaseName::Unstable, Some(9_900));
    rows[101].phase = phase(PhaseName::Plateau, Some(10_000));
    let svg = drawn(rows);
    let of =
        |name: &str| svg.words.iter().filter(|w| w.words == name).map(|w| w.x).collect::<Vec<_>>();
    assert_eq!((of("sharpening").len(), of("plateau").len(), of("unstable").len()), (1, 1, 1));
    // In the legend words are in columns.
    assert!(of("sharpening")[0] > 250.0 && of("unstable")[0] % 1.0 == 0.0);
}

#[test]
fn what_did_not_converge_is_said() {
    let mut rows = histories::full(20).rows().to_vec();
    rows[3].values.get_mut(&Measure::MiniBatchSharpness).unwrap().n_unconverged = 2;
    rows[4].error = Some("broken".into());
    let svg = drawn(rows);
    assert!(svg.says("1 of 20 rows hold eigenvalues that did not converge"));
    assert!(svg.says("something failed in 1 of 20 rows"));
}

#[test]
fn a_spectrum_that_is_none_is_an_error() {
    let density = |nodes: Vec<f64>, weights: Vec<f64>| {
        plot::densities(&[Density::new("x", Spectrum { nodes, weights })], None)
    };
    assert!(matches!(density(vec![1.0], vec![]), Err(Error::InvalidSetting { .. })));
    assert!(matches!(density(vec![], vec![]), Err(Error::NothingToDraw { .. })));
    assert!(matches!(density(vec![f64::NAN], vec![1.0]), Err(Error::NonFinite { .. })));
    // Of a multiple of the identity.
    Svg::of(&density(vec![2.0, 2.0, 2.0], vec![1.0 / 3.0; 3]).unwrap());
    Svg::of(&density(vec![0.0], vec![1.0]).unwrap());
}
