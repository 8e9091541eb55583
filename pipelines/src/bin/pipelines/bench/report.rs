//! What is written: the circumstances, then each row as soon as it is measured.

use std::io::Write;

use pipelines::hardware::Device;
use pipelines::{DType, DeviceId, QuantizedFormat};
use serde_json::{Value, json};

use super::Arguments;
use super::peer::Peer;
use super::roof::{Roof, median};
use crate::options::Outcome;

/// What was measured of one kind of work.
pub(super) struct Row {
    work: Work,
    batch: usize,
    /// Milliseconds of our side, by turn.
    pub(super) turns: Vec<Vec<f64>>,
    /// Milliseconds of the other side.
    pub(super) peer: Vec<f64>,
    /// Memory's speed around each turn, in gigabytes a second, where the work is bounded by it. Another job on the
    /// machine lowers it as it lowers the rest, so that it is sampled where it counts.
    pub(super) roofs: Vec<f64>,
    /// Of decoding on a GPU.
    pub(super) steps: Option<Steps>,
    /// Seconds that it took to compile or find the kernels that had not been used before, and to load them. They are in
    /// no other number.
    pub(super) kernels: Option<f64>,
}

/// The work of a row.
#[derive(Clone, Copy)]
pub(super) enum Work {
    Decode,
    Prefill { tokens: usize },
}

/// How steps on a GPU run.
pub(super) struct Steps {
    /// Launches of a recorded step.
    pub(super) launches: Option<usize>,
    /// Microseconds of the host's own work in each step.
    pub(super) host: Vec<f64>,
}

impl Row {
    pub(super) fn new(work: Work, batch: usize) -> Row {
        let (turns, peer, roofs) = (Vec::new(), Vec::new(), Vec::new());
        Row { work, batch, turns, peer, roofs, steps: None, kernels: None }
    }
}

/// Where rows are written.
pub(super) struct Report<'a> {
    pub(super) arguments: &'a Arguments,
    pub(super) dtype: DType,
    pub(super) device: &'a Device,
    /// Bytes of the weights that a step of one token reads.
    pub(super) bytes: u64,
    /// How far quantised products are from those in `f32`, as a share of their size.
    pub(super) error: Option<f64>,
    /// Whether a step of several tokens reads more of them.
    pub(super) sparse: bool,
}

impl Report<'_> {
    /// Writes under what circumstances rows are measured.
    pub(super) fn begin(&self, roof: &Roof, peer: Option<&Peer>) -> Outcome {
        let arguments = self.arguments;
        let Arguments { preset, layers, prompt, turns, .. } = *arguments;
        let device = match self.device.gpu() {
            Some(gpu) => gpu.chip().name.clone(),
            None => DeviceId::from(self.device.hardware()).to_string(),
        };
        let speed = roof.settled()?;
        let mut out = std::io::stdout().lock();
        if self.arguments.json {
            let circumstances = json!({
                "preset": preset.name(), "layers": layers, "vocabulary": arguments.other_vocabulary(),
                "dtype": self.dtype, "device": device,
                "prompt": prompt, "turns": turns, "bytes_per_token": self.bytes,
                "quantize": arguments.quantize.map(QuantizedFormat::name), "error_to_f32": self.error,
                "roof": roof.name(), "roof_gb_per_s": speed, "peer": peer.map(Peer::about),
            });
            return Ok(writeln!(out, "{circumstances}")?);
        }
        let name = preset.name();
        let vocabulary = match arguments.other_vocabulary() {
            Some(tokens) => format!(" with a vocabulary of {tokens}"),
            None => String::new(),
        };
        writeln!(
            out,
            "{name} x {layers}{vocabulary} in {} on {device}, prompt {prompt}, {turns} turns, medians",
            self.dtype
        )?;
        if let (Some(format), Some(error)) = (arguments.quantize, self.error) {
            let bits = format.bits();
            writeln!(
                out,
                "maps in {format}, {bits} bits a weight, the output layer in q8_0; their products differ from those in \
                 f32 by {:.1} % of their size",
                100.0 * error
            )?;
        }
        let gigabytes = self.bytes as f64 / 1e9;
        writeln!(out, "{} {speed:.0} GB/s; a token alone reads {gigabytes:.2} GB of weights", roof.name())?;
        writeln!(
            out,
            "{:<20}{:>10}{:>11}{:>11}{:>17}{:>8}{:>10}{:>10}{:>11}",
            "", "ms", "tokens/s", "% of roof", "transformers ms", "ratio", "launches", "host us", "kernels s"
        )?;
        Ok(())
    }

    /// Writes a row.
    pub(super) fn row(&self, row: &Row) -> Outcome {
        let (name, tokens) = match row.work {
            Work::Decode => (format!("decode {}", row.batch), 1),
            Work::Prefill { tokens } => (format!("prefill {} x {tokens}", row.batch), tokens),
        };
        let ms = median(row.turns.concat()).unwrap_or(f64::NAN);
        let peer = median(row.peer.clone());
        let ratio = peer.map(|peer| peer / ms);
        let share = self.share_of_roof(row);
        let launches = row.steps.as_ref().and_then(|steps| steps.launches);
        let host = row.steps.as_ref().and_then(|steps| median(steps.host.clone()));
        let mut out = std::io::stdout().lock();
        if self.arguments.json {
            let work = match row.work {
                Work::Decode => "decode",
                Work::Prefill { .. } => "prefill",
            };
            let row: Value = json!({
                "work": work, "batch": row.batch, "tokens": tokens, "ms": ms, "peer_ms": peer, "ratio": ratio,
                "share_of_roof": share, "launches": launches, "host_us": host, "kernels_s": row.kernels,
            });
            return Ok(writeln!(out, "{row}")?);
        }
        let or_dash = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
        writeln!(
            out,
            "{name:<20}{ms:>10.3}{:>11.1}{:>11}{:>17}{:>8}{:>10}{:>10}{:>11}",
            1e3 * (row.batch * tokens) as f64 / ms,
            or_dash(share.map(|share| format!("{:.0} %", 100.0 * share))),
            or_dash(peer.map(|peer| format!("{peer:.3}"))),
            or_dash(ratio.map(|ratio| format!("{ratio:.2}"))),
            or_dash(launches.map(|launches| launches.to_string())),
            or_dash(host.map(|host| format!("{host:.0}"))),
            or_dash(row.kernels.map(|kernels| format!("{kernels:.1}"))),
        )?;
        Ok(())
    }

    /// Writes how fast memory is after all rows: what changed is the machine.
    pub(super) fn end(&self, roof: &Roof) -> Outcome {
        let speed = roof.settled()?;
        let mut out = std::io::stdout().lock();
        match self.arguments.json {
            true => writeln!(out, "{}", json!({ "roof_gb_per_s_after": speed }))?,
            false => writeln!(out, "{} {speed:.0} GB/s after", roof.name())?,
        }
        Ok(())
    }

    /// The share of the time of a step that reading the weights once takes at memory's speed, where that bounds it.
    fn share_of_roof(&self, row: &Row) -> Option<f64> {
        if self.sparse && row.batch > 1 {
            return None;
        }
        let turns = row.turns.iter().zip(&row.roofs);
        let share =
            |(times, roof): (&Vec<f64>, &f64)| Some(self.bytes as f64 / roof / 1e6 / median(times.clone())?);
        median(turns.filter_map(share).collect())
    }
}
