//! A scene as SVG: text stays text, and its layout is the same in every font.

use std::fmt::Write;

use super::number::{plain, short};
use super::scene::{Anchor, Ink, Mark, Place, Scene, text_width};

/// Sizes are heights of a line; this is an em of the font, Ubuntu Light, over the height of its line.
const EM: f64 = 1.0 / 1.121;

/// A path blends with itself once only, so neighbouring dots go to different ones.
const DOT_PATHS: usize = 8;

pub(super) fn svg(scene: &Scene, title: &str) -> String {
    let (width, height) = (plain(scene.size.0), plain(scene.size.1));
    let mut text = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" \
         viewBox=\"0 0 {width} {height}\" font-family=\"Ubuntu, sans-serif\">\n\
         <title>{}</title>\n<rect width=\"100%\" height=\"100%\" fill=\"#ffffff\"/>\n",
        escaped(title)
    );
    for mark in &scene.marks {
        // Writing to a string does not fail.
        let _ = write_mark(&mut text, mark);
    }
    text + "</svg>\n"
}

fn write_mark(text: &mut String, mark: &Mark) -> std::fmt::Result {
    match mark {
        Mark::Lines { lines, ink, width } => writeln!(
            text,
            "<path d=\"{}\" fill=\"none\" stroke-width=\"{}\" stroke-linejoin=\"round\" {}/>",
            lines.iter().map(|places| outline(places)).collect::<String>(),
            plain(*width),
            color(*ink, "stroke")
        ),
        Mark::Area { places, ink } => {
            writeln!(text, "<path d=\"{}Z\" {}/>", outline(places), color(*ink, "fill"))
        }
        Mark::Dots { places, ink, radius } => {
            let n_paths = if ink.opacity < 1.0 { DOT_PATHS.min(places.len()) } else { 1 };
            for start in 0..n_paths {
                let dot = |at: &Place| format!("M{} {}h0", short(at.0), short(at.1));
                let dots: String = places.iter().skip(start).step_by(n_paths).map(dot).collect();
                writeln!(
                    text,
                    "<path d=\"{dots}\" fill=\"none\" stroke-linecap=\"round\" stroke-width=\"{}\" {}/>",
                    plain(2.0 * radius),
                    color(*ink, "stroke")
                )?;
            }
            Ok(())
        }
        Mark::Words { words, at, size, ink, anchor, is_upright } => {
            let (x, y) = (plain(at.0), plain(at.1));
            let anchor = match anchor {
                Anchor::Start => "start",
                Anchor::Middle => "middle",
                Anchor::End => "end",
            };
            let turn =
                if *is_upright { format!(" transform=\"rotate(-90 {x} {y})\"") } else { "".into() };
            // The base line is half of the height of a capital letter below the middle.
            writeln!(
                text,
                "<text x=\"{x}\" y=\"{y}\" dy=\"{}\" font-size=\"{}\" text-anchor=\"{anchor}\" \
                 textLength=\"{}\" lengthAdjust=\"spacingAndGlyphs\"{turn} {}>{}</text>",
                plain(0.3 * size),
                plain(EM * size),
                plain(text_width(words, *size)),
                color(*ink, "fill"),
                escaped(words)
            )
        }
    }
}

fn outline(places: &[Place]) -> String {
    let mut text = String::new();
    let mut last = (String::new(), String::new());
    for (i, at) in places.iter().enumerate() {
        let (x, y) = (short(at.0), short(at.1));
        text += &match (i, x == last.0, y == last.1) {
            (0, ..) => format!("M{x} {y}"),
            (_, true, _) => format!("V{y}"),
            (_, _, true) => format!("H{x}"),
            _ => format!("L{x} {y}"),
        };
        last = (x, y);
    }
    text
}

fn color(Ink { color: (r, g, b), opacity }: Ink, of: &str) -> String {
    let solid = format!("{of}=\"#{r:02x}{g:02x}{b:02x}\"");
    if opacity < 1.0 { format!("{solid} {of}-opacity=\"{}\"", plain(opacity)) } else { solid }
}

fn escaped(words: &str) -> String {
    words.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::super::scene::DARK;
    use super::*;

    #[test]
    fn every_kind_of_mark_is_written() {
        let mut scene = Scene::new(100.0, 50.0);
        scene.dashes(&[(0.0, 1.0), (2.5, 1.0), (2.5, 3.26)], &[2.0, 1.0], DARK, 2.0);
        scene.rectangle((0.0, 0.0), (1.0, 1.0), DARK.faint(0.5));
        scene.dots(vec![(1.0, 2.0), (3.0, 4.0)], DARK, 1.5);
        scene.words("a < \"b\" & c", (5.0, 6.0), 10.0, Anchor::End);
        let text = svg(&scene, "<>");
        for part in [
            "<title>&lt;&gt;</title>",
            "d=\"M0 1H2M2.5 1.5V3.3\" fill=\"none\" stroke-width=\"2\"",
            "d=\"M0 0H1V1H0Z\" fill=\"#262626\" fill-opacity=\"0.5\"",
            "d=\"M1 2h0M3 4h0\" fill=\"none\" stroke-linecap=\"round\" stroke-width=\"3\"",
            "a &lt; &quot;b&quot; &amp; c</text>",
        ] {
            assert!(text.contains(part), "{part} in {text}");
        }
        assert!(text.starts_with("<svg ") && text.ends_with("</svg>\n"));
    }
}
