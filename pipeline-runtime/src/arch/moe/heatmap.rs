//! Which expert read or wrote which word, as a picture.

use std::fmt;

use svg::node::element::{Group, Rectangle, Text, Title};
use unicode_width::UnicodeWidthStr;

use crate::arch::moe::{ExpertAttribution, TokenExperts};

/// Columns that a line of words takes in a terminal.
const COLUMNS: usize = 96;
/// Shades with the least weight that they stand for.
const SHADES: [(f32, char); 4] = [(0.85, '█'), (0.6, '▓'), (0.35, '▒'), (0.1, '░')];
/// Pixels of a character cell in the SVG.
const CELL: (usize, usize) = (8, 16);

/// The experts of each word in one layer: lines of text, and below each line a row per expert that had a say in it,
/// shaded by the weight that the expert had for the word above. Below all, how much each layer used each expert.
///
/// `Display` writes shades; the alternate form `{:#}` writes colours for a terminal.
#[derive(Clone, Copy, Debug)]
pub struct Heatmap<'a> {
    attribution: &'a ExpertAttribution,
    layer: usize,
}

/// A token in a line: how it reads, how wide it is, and the weight of each expert.
struct Word {
    text: String,
    width: usize,
    weights: Vec<f32>,
    ends_line: bool,
}

impl Word {
    fn new(text: &str, weights: &[f32]) -> Word {
        let shown = text.replace('\n', "⏎").replace(char::is_control, "·");
        let width = shown.width().max(1);
        Word { text: shown, width, weights: weights.to_vec(), ends_line: text.contains('\n') }
    }
}

impl<'a> Heatmap<'a> {
    pub(super) fn new(attribution: &'a ExpertAttribution, layer: usize) -> Heatmap<'a> {
        Heatmap { attribution, layer }
    }

    /// The weight of each expert for each token: `(tokens, experts)`. The weights of a token sum to one unless an expert
    /// had no room for it.
    pub fn weights(&self) -> Vec<Vec<f32>> {
        let token_weights = |token: &TokenExperts| {
            let mut weights = vec![0.0; self.attribution.num_experts];
            if let Some(layer) = token.layers.get(self.layer) {
                for (&expert, &weight) in layer.experts.iter().zip(&layer.weights) {
                    weights[expert as usize] = weight;
                }
            }
            weights
        };
        self.attribution.tokens.iter().map(token_weights).collect()
    }

    /// The share of visits of each expert in each layer: `(layers, experts)`, each row summing to one.
    pub fn layers(&self) -> Vec<Vec<f32>> {
        let usage = self.attribution.usage();
        let share = |visits: &Vec<u64>| {
            let sum = visits.iter().sum::<u64>().max(1) as f32;
            visits.iter().map(|&visits| visits as f32 / sum).collect()
        };
        usage.per_layer.iter().map(share).collect()
    }

    /// The words in lines that fit the columns, broken where a word begins.
    fn lines(&self) -> Vec<Vec<Word>> {
        let mut lines: Vec<Vec<Word>> = Vec::new();
        let (mut column, mut breaks) = (0, true);
        let tokens: Vec<(&TokenExperts, Vec<f32>)> =
            self.attribution.tokens.iter().zip(self.weights()).collect();
        for pieces in tokens.chunk_by(|_, (next, _)| !next.text.starts_with(char::is_whitespace)) {
            let pieces: Vec<Word> =
                pieces.iter().map(|(token, weights)| Word::new(&token.text, weights)).collect();
            let width: usize = pieces.iter().map(|piece| piece.width).sum();
            breaks |= column + width > COLUMNS;
            for piece in pieces {
                if breaks || column + piece.width > COLUMNS {
                    lines.push(Vec::new());
                    column = 0;
                }
                column += piece.width;
                breaks = piece.ends_line;
                lines.last_mut().expect("the first piece begins a line").push(piece);
            }
        }
        lines
    }

    /// The picture as an SVG document: the words with a row per expert below each line, then the share of each expert in each
    /// layer.
    pub fn svg(&self) -> String {
        let (cell_width, cell_height) = CELL;
        let experts = self.attribution.num_experts;
        let left = 10 * cell_width;
        let lines = self.lines();
        let block = (experts + 2) * cell_height;
        let mut drawing = Group::new();
        for (index, line) in lines.iter().enumerate() {
            let top = index * block + cell_height;
            for expert in 0..experts {
                let baseline = top + (expert + 2) * cell_height - 4;
                drawing = drawing.add(label(0, baseline, &format!("expert {expert}")));
            }
            let mut column = left;
            for word in line {
                // Spaces at its edges are lost in a text element.
                let indent = word.text.len() - word.text.trim_start().len();
                let x = column + indent * cell_width;
                drawing = drawing.add(label(x, top + cell_height - 4, word.text.trim()));
                for (expert, &weight) in word.weights.iter().enumerate().filter(|(_, weight)| **weight > 0.0)
                {
                    let y = top + (expert + 1) * cell_height;
                    let title = format!("{}: expert {expert}, weight {weight:.3}", word.text.trim());
                    drawing = drawing.add(square(column, y, word.width * cell_width, expert, weight, title));
                }
                column += word.width * cell_width;
            }
        }
        let top = lines.len() * block + 2 * cell_height;
        drawing = drawing.add(label(0, top, "share of each expert's visits by layer"));
        let layers = self.layers();
        for (layer, shares) in layers.iter().enumerate() {
            let y = top + (layer + 1) * cell_height;
            drawing = drawing.add(label(0, y + cell_height - 4, &format!("layer {layer}")));
            let busiest = shares.iter().copied().fold(f32::EPSILON, f32::max);
            for (expert, &share) in shares.iter().enumerate() {
                let x = left + expert * 4 * cell_width;
                let title = format!("layer {layer}, expert {expert}: {:.1} %", 100.0 * share);
                drawing = drawing.add(square(x, y, 4 * cell_width, expert, share / busiest, title));
            }
        }
        let height = top + (layers.len() + 2) * cell_height;
        let width = left + ((COLUMNS + 1) * cell_width).max((4 * experts + 1) * cell_width);
        svg::Document::new()
            .set("viewBox", (0, 0, width, height))
            .set("width", width)
            .set("height", height)
            .add(Rectangle::new().set("width", "100%").set("height", "100%").set("fill", "white"))
            .add(drawing.set("font-family", "monospace").set("font-size", 13))
            .to_string()
    }
}

fn label(x: usize, y: usize, text: &str) -> Text {
    Text::new(text).set("x", x).set("y", y).set("fill", "#222")
}

fn square(x: usize, y: usize, width: usize, expert: usize, weight: f32, title: String) -> Rectangle {
    let (red, green, blue) = colour(expert);
    Rectangle::new()
        .set("x", x)
        .set("y", y)
        .set("width", width)
        .set("height", CELL.1)
        .set("fill", format!("rgb({red},{green},{blue})"))
        .set("fill-opacity", format!("{:.3}", weight.clamp(0.0, 1.0)))
        .add(Title::new(title))
}

/// A colour that tells an expert from its neighbours: hues a golden angle apart.
fn colour(expert: usize) -> (u8, u8, u8) {
    let hue = (expert as f32 * 137.508) % 360.0;
    // HSL with saturation 0.65 and lightness 0.45.
    let chroma = 0.585;
    let component = |offset: f32| {
        let k = (offset + hue / 30.0) % 12.0;
        let value = 0.45 - chroma / 2.0 * (k - 3.0).min(9.0 - k).clamp(-1.0, 1.0);
        (value * 255.0).round() as u8
    };
    (component(0.0), component(8.0), component(4.0))
}

impl fmt::Display for Heatmap<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let coloured = formatter.alternate();
        let experts = self.attribution.num_experts;
        let margin = format!("expert {}", experts.saturating_sub(1)).len();
        writeln!(formatter, "who wrote it: experts of layer {}, darker is stronger", self.layer)?;
        for line in self.lines() {
            write!(formatter, "\n{:margin$} ", "")?;
            for word in &line {
                formatter.write_str(&word.text)?;
            }
            writeln!(formatter)?;
            for expert in
                (0..experts).filter(|&expert| line.iter().any(|word| shade(word.weights[expert]) != ' '))
            {
                let row: String = line
                    .iter()
                    .map(|word| cells(expert, word.weights[expert], word.width, coloured))
                    .collect();
                writeln!(formatter, "{:<margin$} {}", format!("expert {expert}"), row.trim_end())?;
            }
        }
        writeln!(formatter, "\nhow much each layer used each expert, darkest is its busiest")?;
        for (layer, shares) in self.layers().iter().enumerate() {
            let busiest = shares.iter().copied().fold(f32::EPSILON, f32::max);
            write!(formatter, "{:<margin$} ", format!("layer {layer}"))?;
            for (expert, share) in shares.iter().enumerate() {
                write!(formatter, "{} ", cells(expert, share / busiest, 3, coloured))?;
            }
            writeln!(formatter)?;
        }
        Ok(())
    }
}

fn shade(weight: f32) -> char {
    SHADES.iter().find(|(least, _)| weight >= *least).map_or(' ', |&(_, shade)| shade)
}

/// As many cells as `width` in the shade or the colour of an expert's weight.
fn cells(expert: usize, weight: f32, width: usize, coloured: bool) -> String {
    let weight = weight.clamp(0.0, 1.0);
    let shade = shade(weight);
    if !coloured || shade == ' ' {
        return shade.to_string().repeat(width);
    }
    let (red, green, blue) = colour(expert);
    let dimmed = |component: u8| (f32::from(component) * (0.25 + 0.75 * weight)) as u8;
    let colour = anstyle::RgbColor(dimmed(red), dimmed(green), dimmed(blue));
    let style = anstyle::Style::new().bg_color(Some(colour.into()));
    format!("{style}{}{style:#}", " ".repeat(width))
}
