//! Enough of SVG to read a picture back.

use burn_sharpness::plot::Picture;

/// A line of text and where its middle is.
#[derive(Clone, Debug)]
pub struct Words {
    pub words: String,
    pub x: f64,
    pub y: f64,
    pub is_at_end: bool,
}

pub struct Svg {
    pub text: String,
    pub words: Vec<Words>,
}

fn attribute<'a>(tag: &'a str, name: &str) -> Option<&'a str> {
    let from = tag.find(&format!(" {name}=\""))? + name.len() + 3;
    tag[from..].split('"').next()
}

fn number(tag: &str, name: &str) -> f64 {
    attribute(tag, name).and_then(|value| value.parse().ok()).unwrap_or(f64::NAN)
}

impl Svg {
    /// Reads a picture; fails where tags are not balanced or a number is none.
    pub fn of(picture: &Picture) -> Self {
        let text = picture.svg();
        let (mut open, mut words) = (Vec::new(), Vec::new());
        let mut rest = text.as_str();
        while let Some(start) = rest.find('<') {
            assert!(!rest[..start].contains('>'), "a > outside of tags");
            let end = start + rest[start..].find('>').expect("an open tag");
            let (tag, after) = (&rest[start + 1..end], &rest[end + 1..]);
            assert!(tag.matches('"').count() % 2 == 0, "{tag}");
            match (tag.strip_prefix('/'), tag.ends_with('/')) {
                (Some(name), _) => assert_eq!(open.pop(), Some(name.to_string())),
                (None, true) => {}
                (None, false) => open.push(tag.split(' ').next().unwrap().to_string()),
            }
            if tag.starts_with("text ") {
                let inside = after.split('<').next().unwrap();
                let inside = inside.replace("&lt;", "<").replace("&gt;", ">");
                words.push(Words {
                    words: inside.replace("&quot;", "\"").replace("&amp;", "&"),
                    x: number(tag, "x"),
                    y: number(tag, "y"),
                    is_at_end: attribute(tag, "text-anchor") == Some("end"),
                });
            }
            rest = after;
        }
        assert!(open.is_empty(), "{open:?}");
        for bad in ["NaN", "inf"] {
            assert!(!text.contains(bad), "{bad} in {text:.4000}");
        }
        Self { text, words }
    }

    pub fn says(&self, words: &str) -> bool {
        self.words.iter().any(|w| w.words.contains(words))
    }

    /// The width and the height.
    pub fn size(&self) -> (f64, f64) {
        let tag = self.text.split('>').next().unwrap();
        (number(tag, "width"), number(tag, "height"))
    }

    /// Places of dots.
    pub fn dots(&self) -> Vec<(f64, f64)> {
        let paths = self.text.split("d=\"").skip(1).map(|path| path.split('"').next().unwrap());
        let dots = paths.filter(|path| path.ends_with("h0")).flat_map(|path| path.split("h0"));
        let place = |dot: &str| {
            let (x, y) = dot.strip_prefix('M')?.split_once(' ')?;
            Some((x.parse().ok()?, y.parse().ok()?))
        };
        dots.filter_map(place).collect()
    }

    /// Connected lines of this style, as written.
    pub fn lines(&self, style: &str) -> Vec<String> {
        let with = |line: &&str| line.starts_with("<path") && line.contains(style);
        let outlines = self.text.lines().filter(with).filter_map(|line| line.split('"').nth(1));
        outlines.flat_map(|outline| outline.split('M').skip(1)).map(String::from).collect()
    }

    /// The slope and the offset from values to heights, by two numbers at the left axis between two
    /// heights of the picture.
    pub fn heights(&self, between: (f64, f64)) -> impl Fn(f64) -> f64 {
        let number = |w: &Words| Some((w.words.parse::<f64>().ok()?, w.y));
        let at_axis =
            |w: &&Words| w.is_at_end && w.x < 82.0 && between.0 <= w.y && w.y <= between.1;
        linear(self.words.iter().filter(at_axis).filter_map(number).collect())
    }

    /// The same from steps to distances from the left.
    pub fn distances(&self) -> impl Fn(f64) -> f64 {
        let lowest = |w: &Words| w.words.parse::<f64>().is_ok().then_some(w.y);
        let foot = self.words.iter().filter_map(lowest).fold(0.0, f64::max);
        let number = |w: &Words| Some((w.words.parse::<f64>().ok()?, w.x));
        linear(self.words.iter().filter(|w| w.y == foot).filter_map(number).collect())
    }
}

fn linear(pairs: Vec<(f64, f64)>) -> impl Fn(f64) -> f64 {
    let by = |a: &(f64, f64), b: &(f64, f64)| a.0.total_cmp(&b.0);
    let (low, high) = (
        *pairs.iter().min_by(|a, b| by(a, b)).unwrap(),
        *pairs.iter().max_by(|a, b| by(a, b)).unwrap(),
    );
    assert!(high.0 > low.0, "two numbers at an axis: {pairs:?}");
    let slope = (high.1 - low.1) / (high.0 - low.0);
    move |value| low.1 + slope * (value - low.0)
}
