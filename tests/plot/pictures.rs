//! Every label, threshold and number is on the picture, where it belongs.

use std::fs;

use burn_sharpness::Error;
use burn_sharpness::observe::{History, Measure, Row, Spectrum, Value};
use burn_sharpness::plot::{self, Bars, Chart, Density, Look, Point, Series};

use crate::folder::Folder;
use crate::histories;
use crate::vectors::Svg;

#[test]
fn a_training_curve_names_everything_that_it_shows() {
    let svg = Svg::of(&plot::training(&histories::full(120)).unwrap());
    for words in [
        "training steps 0 to 11900, batches of 8",
        "mini-batch sharpness",
        "full-batch sharpness",
        "batch sharpness",
        "of the training batch, mean of",
        "of single mini-batches",
        "2/η, 16 to 32, for batch sharpness",
        "sharpening",
        "plateau",
        "flattening",
        "curvature of the loss",
        "training step",
        "loss",
        "η",
        "95% intervals",
    ] {
        assert!(svg.says(words), "{words}");
    }
    // No letter is missing in the font of the PNG: what it lacks was replaced.
    assert!(!svg.text.contains('ᵀ') && !svg.text.contains('‖'));
}

/// Dots and thresholds are read off the picture with the numbers at its axes: one unit of length in places
/// that are written to a tenth, between numbers that are.
#[test]
fn every_single_batch_and_the_threshold_are_where_the_axes_say() {
    let history = constant(40);
    let svg = Svg::of(&plot::training(&history).unwrap());
    let (across, up) = (svg.distances(), svg.heights((150.0, 560.0)));
    let mut expected: Vec<(f64, f64)> = Vec::new();
    for row in history.rows() {
        let each = &row.value(&Measure::MiniBatchSharpness).unwrap().each;
        expected.extend(each.iter().map(|value| (across(row.step as f64), up(*value))));
    }
    let mut found = svg.dots();
    // Four more are in the legend, above.
    found.retain(|dot| dot.1 > 100.0);
    let by = |a: &(f64, f64), b: &(f64, f64)| {
        (a.0.round(), a.1).partial_cmp(&(b.0.round(), b.1)).unwrap()
    };
    expected.sort_by(by);
    found.sort_by(by);
    assert_eq!(found.len(), expected.len());
    for (found, expected) in found.iter().zip(&expected) {
        assert!(
            (found.0 - expected.0).abs() < 0.3 && (found.1 - expected.1).abs() < 0.3,
            "{found:?} {expected:?}"
        );
    }
    assert!(svg.says("2/η = 16"));
    // Strokes of the threshold: its style and its height.
    let height = up(16.0);
    let strokes = svg.lines("stroke-width=\"1.5\"");
    let at = |line: &&String| {
        let y = line.split([' ', 'H']).nth(1).and_then(|y| y.parse::<f64>().ok());
        y.is_some_and(|y| (y - height).abs() < 0.3)
    };
    // The panel is 800 wide, a stroke and a gap are 10; one more stroke is in the legend.
    assert!(strokes.iter().filter(at).count() >= 79, "{}", strokes.len());
    assert!(svg.says("multiples of 2/η"));
}

/// Values between 3 and 17, η = 0.125.
fn constant(n_rows: usize) -> History {
    let row = |i: usize| {
        let mut row = Row::at(50 * i);
        let each = (0..8).map(|j| 3.0 + 14.0 * histories::noise(8 * i + j)).collect();
        row.values.insert(Measure::MiniBatchSharpness, histories::mean_of(each));
        row.learning_rate = Some(0.125);
        row.threshold = Some(16.0);
        row
    };
    histories::of((0..n_rows).map(row).collect())
}

#[test]
fn a_threshold_steps_where_the_learning_rate_changes() {
    let svg = Svg::of(&plot::training(&histories::full(60)).unwrap());
    let (across, up) = (svg.distances(), svg.heights((170.0, 580.0)));
    // A vertical stroke at the step of the change, between both heights.
    let x = across(3000.0);
    let strokes = svg.lines("stroke-width=\"1.5\"");
    let numbers = |line: &String| -> Vec<f64> {
        line.split(|c: char| !c.is_ascii_digit() && c != '.')
            .filter_map(|n| n.parse().ok())
            .collect()
    };
    let vertical = strokes.iter().filter(|line| line.contains('V')).map(numbers);
    let inside = |y: f64| y <= up(16.0) + 0.3 && y >= up(32.0) - 0.3;
    let n = vertical.filter(|n| (n[0] - x).abs() < 0.3 && inside(n[1])).count();
    assert!(n >= 5, "{n}");
}

#[test]
fn layers_are_rows_in_their_order_with_a_scale() {
    let svg = Svg::of(&plot::groups(&histories::layers(12, 30)).unwrap());
    let height = |name: &str| svg.words.iter().find(|w| w.words == name).unwrap().y;
    let names: Vec<String> = (0..12).map(|i| format!("decoder.blocks.{i}.attention")).collect();
    assert!(names.windows(2).all(|pair| height(&pair[0]) < height(&pair[1])));
    for words in ["training step", "curvature of the loss", "0.1", "1", "10", "12 groups"] {
        assert!(svg.says(words), "{words}");
    }
    // A group that was measured once, and one that was not in every row.
    let one = histories::of(vec![histories::layers(3, 30).rows()[4].clone()]);
    assert!(Svg::of(&plot::groups(&one).unwrap()).says("training step"));
}

#[test]
fn a_gap_law_shows_its_points_its_line_and_its_exponent() {
    let svg = Svg::of(&plot::gap_law(&histories::gaps()).unwrap());
    for words in
        ["b = 4", "b = 16", "b = 64", "b = 256", "b = 1024", "step 500", "1/b", "λmax(H_B)"]
    {
        assert!(svg.says(words), "{words}");
    }
    assert!(!svg.says("b = 4096") && svg.says("not on the axes: 1"));
    let label = svg.words.iter().find(|w| w.words.contains("exponent")).unwrap().words.clone();
    let exponent: f64 =
        label.split("exponent ").nth(1).unwrap().split(' ').next().unwrap().parse().unwrap();
    // Points scatter by 5%, over a factor of 256: 2·0.05/ln 256 = 0.02.
    assert!((exponent - 0.8).abs() < 0.02, "{label}");

    let mut row = Row::at(3);
    row.values.insert(Measure::Gap(8), Value::of(2.0));
    let svg = Svg::of(&plot::gap_law(&histories::of(vec![row.clone()])).unwrap());
    assert!(svg.says("b = 8") && !svg.says("exponent"));
    row.values.insert(Measure::Gap(8), Value::of(-2.0));
    let error = plot::gap_law(&histories::of(vec![row])).unwrap_err();
    assert!(matches!(error, Error::NothingToDraw { picture: "gap law", .. }), "{error}");
}

#[test]
fn a_spectrum_shows_outliers_and_the_edge() {
    let svg = Svg::of(&plot::spectrum(&histories::with_spectrum()).unwrap());
    for words in [
        "at step 300",
        "edge of stability = 14",
        "eigenvalue λ",
        "share of eigenvalues",
        "8 start vectors",
    ] {
        assert!(svg.says(words), "{words}");
    }
    // A tick for each node.
    assert_eq!(svg.lines("stroke-width=\"1.2\"").len(), histories::outliers().nodes.len());

    let spectrum = Spectrum { nodes: vec![0.0, 2.0], weights: vec![0.9, 0.1] };
    let counted = Density::new("all", spectrum).with_dim(10).with_eigenvalues(vec![2.0]);
    let svg = Svg::of(&plot::densities(&[counted], None).unwrap());
    assert!(svg.words.iter().any(|w| w.words == "one") && svg.says("eigenvalues per unit of λ"));
    assert_eq!(svg.lines("stroke-width=\"1.2\"").len(), 1);
    assert!(matches!(plot::densities(&[], None), Err(Error::NothingToDraw { .. })));
}

#[test]
fn charts_and_bars_of_ones_own() {
    let point =
        |x: f64, y: f64| Point { x, y, interval: Some((y - 1.0, y + 1.0)), name: format!("n{x}") };
    let points = vec![point(1.0, 2.0), point(10.0, 30.0)];
    let measured = Series { label: "measured".into(), style: 1, look: Look::Points, points };
    let bound = Series::curve("bound", 0, Look::Reference, &[(1.0, 5.0), (10.0, 5.0)]);
    let mut chart = Chart {
        title: "a <b> & \"c\"".into(),
        x_name: "x, m".into(),
        y_name: "y, s".into(),
        is_logarithmic: false,
        series: vec![measured, bound],
    };
    for is_logarithmic in [false, true] {
        chart.is_logarithmic = is_logarithmic;
        let svg = Svg::of(&chart.picture().unwrap());
        for words in ["a <b> & \"c\"", "measured", "bound", "x, m", "y, s", "n1", "n10"] {
            assert!(svg.says(words), "{words}");
        }
    }
    chart.series[0].points[0].y = f64::NAN;
    assert!(matches!(chart.picture(), Err(Error::NonFinite { .. })));
    chart.series.clear();
    assert!(matches!(chart.picture(), Err(Error::NothingToDraw { .. })));

    let bars = |groups| Bars {
        title: "t".into(),
        x_name: "λ".into(),
        kinds: vec!["one".into(), "two".into()],
        groups,
    };
    let svg = Svg::of(
        &bars(vec![("a".into(), vec![3.5, -1.25]), ("b".into(), vec![0.0])]).picture().unwrap(),
    );
    for words in ["one", "two", "a", "b", "3.5", "-1.25", "0"] {
        assert!(svg.words.iter().any(|w| w.words == words), "{words}");
    }
    assert!(matches!(bars(vec![]).picture(), Err(Error::NothingToDraw { .. })));
    assert!(matches!(
        bars(vec![("a".into(), vec![f64::INFINITY])]).picture(),
        Err(Error::NonFinite { .. })
    ));
}

/// The bitmap of a file: width, height, and RGB.
fn decoded(path: &std::path::Path) -> (u32, u32, Vec<u8>) {
    let mut reader = png::Decoder::new(fs::File::open(path).unwrap()).read_info().unwrap();
    let mut pixels = vec![0; reader.output_buffer_size()];
    let info = reader.next_frame(&mut pixels).unwrap();
    assert_eq!((info.color_type, info.bit_depth), (png::ColorType::Rgb, png::BitDepth::Eight));
    (info.width, info.height, pixels)
}

#[test]
fn a_file_becomes_all_its_pictures_by_one_call() {
    let folder = Folder::new("files");
    let mut rows = histories::full(30).rows().to_vec();
    for (row, layers) in rows.iter_mut().zip(histories::layers(3, 30).rows()) {
        row.values.extend(layers.values.clone());
    }
    let last = rows.last_mut().unwrap();
    last.values.extend(histories::gaps().rows()[0].values.clone());
    last.spectrum = Some(histories::outliers());
    let run = folder.path("run.jsonl");
    histories::of(rows).write(&run).unwrap();

    let files = plot::save_all_of_file(&run, folder.path("new/pictures")).unwrap();
    let stems = ["training", "groups", "gap_law", "spectrum"];
    let names: Vec<_> = files.iter().map(|f| f.file_name().unwrap().to_str().unwrap()).collect();
    assert_eq!(names, stems.map(|s| [format!("{s}.svg"), format!("{s}.png")]).concat());
    for pair in files.chunks(2) {
        let svg = fs::read_to_string(&pair[0]).unwrap();
        let height: f64 =
            svg.split("height=\"").nth(1).unwrap().split('"').next().unwrap().parse().unwrap();
        let (w, h, pixels) = decoded(&pair[1]);
        assert_eq!((f64::from(w), f64::from(h)), (1920.0, (2.0 * height).round()));
        // White paper with something on it, in colour and in grey.
        assert_eq!(pixels[..3], [255; 3]);
        let dark =
            pixels.chunks(3).filter(|p| p.iter().map(|v| u32::from(*v)).sum::<u32>() < 300).count();
        assert!((1000..pixels.len() / 6).contains(&dark), "{dark} of {}", pixels.len() / 3);
    }

    let missing = plot::save_all_of_file(folder.path("none.jsonl"), folder.root()).unwrap_err();
    assert!(matches!(missing, Error::File { .. }), "{missing}");
    // A file is no folder.
    let error = plot::training(&histories::full(3)).unwrap().save(&run, "x").unwrap_err();
    assert!(matches!(&error, Error::File { path, .. } if *path == run), "{error}");
    assert!(error.to_string().contains("choose a folder"), "{error}");
}
