//! `pipelines doctor`

use std::io::{self, Write};

use pipelines::doctor::{self, Finding};
use pipelines::hardware::{Device, DeviceId};
use pipelines::kernels::check::{Check, FAMILIES, Roof, Work};
use serde_json::{Value, json};

use crate::options::Outcome;

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Test the kernels of this device only: `cpu`, `cuda`, `cuda:1`, `rocm`, ...
    #[arg(long)]
    device: Option<DeviceId>,
    /// Test these families of kernels only
    #[arg(long, value_name = "NAME", value_delimiter = ',', value_parser = family_names())]
    kernels: Vec<String>,
    /// Leave out the sizes of real models and all timings
    #[arg(long)]
    quick: bool,
    /// Say what there is and test nothing
    #[arg(long)]
    brief: bool,
    /// Write JSON
    #[arg(long)]
    json: bool,
}

fn family_names() -> clap::builder::PossibleValuesParser {
    FAMILIES.map(|family| family.name).into()
}

pub(crate) fn run(arguments: &Arguments) -> Outcome {
    let mut found = doctor::examine();
    if let Some(wanted) = arguments.device {
        let wanted = wanted.to_string();
        found.retain(|(finding, _)| finding.device == wanted);
        match &*found {
            [] => {
                return Err(format!(
                    "there is no `{wanted}`; `pipelines doctor --brief` lists what there is"
                )
                .into());
            }
            [(Finding { obstacle: Some(obstacle), .. }, _), ..] => {
                return Err(format!("`{wanted}` cannot be used: {obstacle}").into());
            }
            _ => {}
        }
    }
    let mut report = Report { json: arguments.json, devices: Vec::new(), failed: Vec::new() };
    for (finding, device) in &found {
        report.begin(finding)?;
        if let Some(device) = device.as_ref().filter(|_| !arguments.brief) {
            report.test(finding, device, arguments)?;
        }
    }
    report.end()
}

/// Writes what is found as it is found, or all of it at the end as JSON.
struct Report {
    json: bool,
    devices: Vec<Value>,
    /// What did not pass.
    failed: Vec<String>,
}

impl Report {
    fn begin(&mut self, finding: &Finding) -> Outcome {
        if self.json {
            self.devices.push(json!({
                "device": finding.device,
                "obstacle": finding.obstacle,
                "facts": finding.facts.iter().map(|(name, value)| (*name, value)).collect::<std::collections::BTreeMap<_, _>>(),
            }));
            return Ok(());
        }
        let (bold, mut out) = (anstyle::Style::new().bold(), anstream::stdout().lock());
        match &finding.obstacle {
            Some(obstacle) => writeln!(out, "{bold}{}{bold:#}  not usable: {obstacle}", finding.device)?,
            None => writeln!(out, "{bold}{}{bold:#}", finding.device)?,
        }
        for (name, value) in &finding.facts {
            writeln!(out, "  {name:<16} {value}")?;
        }
        Ok(out.flush()?)
    }

    fn test(&mut self, finding: &Finding, device: &Device, arguments: &Arguments) -> Outcome {
        let wanted = &arguments.kernels;
        let roof = if arguments.quick { None } else { Some(doctor::roof(device)?) };
        if self.json {
            self.set("roof", json!(roof));
        } else {
            let mut out = anstream::stdout().lock();
            if let Some(roof) = &roof {
                writeln!(out, "  {:<16} {}", "roof", roof_text(roof))?;
            }
            writeln!(out, "  {:<26} {:>6} {:>9} {:>9}", "kernels", "cases", "error", "allowed")?;
        }
        for family in FAMILIES {
            if !wanted.is_empty() && !wanted.iter().any(|name| name == family.name) {
                continue;
            }
            let run = || -> pipelines::Result<Vec<Check>> {
                let mut checks = doctor::check(family.checks, device)?;
                if !arguments.quick {
                    checks.extend(doctor::check(family.speeds, device)?);
                }
                Ok(checks)
            };
            match run() {
                Ok(checks) => self.family(finding, family.name, &checks, roof.as_ref())?,
                // A kernel that does not run must not hide what the others do.
                Err(error) => {
                    self.failed.push(format!("{} on {}: {error}", family.name, finding.device));
                    if !self.json {
                        writeln!(anstream::stdout(), "  {:<26} {error}", family.name)?;
                    }
                }
            }
        }
        Ok(())
    }

    fn family(&mut self, finding: &Finding, name: &str, checks: &[Check], roof: Option<&Roof>) -> Outcome {
        for check in checks.iter().filter(|check| !check.passes()) {
            self.failed.push(format!(
                "{} on {}, {}: off by {:.1e}, {:.1e} is allowed",
                check.kernel, finding.device, check.case, check.error, check.bound
            ));
        }
        if self.json {
            let share = |check: &Check| check.speed.zip(roof).map(|(speed, roof)| speed.share(roof));
            let described: Vec<Value> = checks
                .iter()
                .map(|check| json!({ "family": name, "check": check, "passes": check.passes(), "share_of_roof": share(check) }))
                .collect();
            let device = self.devices.last_mut().expect("a device was begun");
            match device.get_mut("checks").and_then(Value::as_array_mut) {
                Some(before) => before.extend(described),
                None => self.set("checks", described.into()),
            }
            return Ok(());
        }
        let mut out = anstream::stdout().lock();
        // Of all cases the one nearest to its bound.
        let nearness =
            |check: &Check| if check.bound > 0.0 { check.error / check.bound } else { check.error };
        let Some(worst) = checks.iter().max_by(|a, b| nearness(a).total_cmp(&nearness(b))) else {
            return Ok(());
        };
        let style = match checks.iter().all(Check::passes) {
            true => anstyle::AnsiColor::Green.on_default(),
            false => anstyle::AnsiColor::Red.on_default().bold(),
        };
        let verdict = if checks.iter().all(Check::passes) { "right" } else { "wrong" };
        writeln!(
            out,
            "  {name:<26} {:>6} {:>9.1e} {:>9.1e}  {style}{verdict}{style:#}",
            checks.len(),
            worst.error,
            worst.bound
        )?;
        for check in checks {
            let (Some(speed), Some(roof)) = (check.speed, roof) else { continue };
            let bound_by = match speed.bound_by {
                Work::Bytes(_) => "memory",
                Work::Operations(..) => "arithmetic",
            };
            writeln!(
                out,
                "    {:<44} {:>10.1} us  {:>3.0} % of {bound_by}",
                format!("{}, {}", check.kernel, check.case),
                speed.microseconds,
                100.0 * speed.share(roof)
            )?;
        }
        Ok(out.flush()?)
    }

    fn set(&mut self, key: &str, value: Value) {
        self.devices.last_mut().expect("a device was begun")[key] = value;
    }

    fn end(self) -> Outcome {
        if self.json {
            writeln!(io::stdout(), "{}", serde_json::to_string_pretty(&self.devices)?)?;
        }
        match &*self.failed {
            [] => Ok(()),
            failed => Err(format!("{} checks failed:\n{}", failed.len(), failed.join("\n")).into()),
        }
    }
}

fn roof_text(roof: &Roof) -> String {
    let memory = match roof.bytes {
        0.0..1e12 => format!("{:.1} GB/s", roof.bytes / 1e9),
        _ => format!("{:.2} TB/s", roof.bytes / 1e12),
    };
    let operations = |count: f64| match count {
        0.0..1e12 => format!("{:.0} GFLOP/s", count / 1e9),
        _ => format!("{:.0} TFLOP/s", count / 1e12),
    };
    format!("memory {memory}, f32 {}, bf16 {}", operations(roof.f32), operations(roof.half))
}
