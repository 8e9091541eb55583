//! Building the macro crate with everything it depends on, from nothing.

use std::fs;
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::milliseconds;
use crate::scratch::{directory, write_manifest};

/// How often the build with all jobs is measured.
const TURNS: usize = 3;

pub(super) fn cold_build() {
    let mut times: Vec<Duration> = (0..TURNS).map(|_| build(&[]).0).collect();
    times.sort();
    println!("`cargo build` of the macro crate and its dependencies from nothing, in a user's profile");
    let [least, median, most] = [times[0], times[TURNS / 2], times[TURNS - 1]].map(milliseconds);
    println!("  {:<44} {median:7.1} ({least:.1} to {most:.1})", "all jobs");
    let (whole, mut crates) = build(&["--jobs", "1"]);
    println!("  {:<44} {:7.1}", "one job, once", milliseconds(whole));
    crates.sort_by_key(|(_, time)| std::cmp::Reverse(*time));
    for (name, time) in crates.iter().take(10) {
        let share = 100.0 * time.as_secs_f64() / whole.as_secs_f64();
        println!("    {name:<42} {:7.1}  {share:3.0} %", milliseconds(*time));
    }
    println!();
}

/// How long a build takes, and every crate of it, build scripts included: right where one follows the other.
fn build(arguments: &[&str]) -> (Duration, Vec<(String, Duration)>) {
    let root = directory().join("cold");
    let _ = fs::remove_dir_all(&root);
    write_manifest(&root, "cold", "pipeline-macros", "pipeline-macros");
    let begin = Instant::now();
    let mut cargo = Command::new(env!("CARGO"))
        .args(["build", "--offline", "--quiet", "--message-format=json"])
        .args(arguments)
        .current_dir(&root)
        .env("CARGO_TARGET_DIR", root.join("target"))
        .env_remove("RUSTFLAGS")
        .stdout(Stdio::piped())
        .spawn()
        .expect("cargo runs");
    let mut crates: Vec<(String, Duration)> = Vec::new();
    let mut last = begin;
    for line in BufReader::new(cargo.stdout.take().expect("it is piped")).lines() {
        let line = line.expect("cargo writes UTF-8");
        let message: serde_json::Value = serde_json::from_str(&line).expect("cargo writes JSON");
        let Some(package) = message["package_id"].as_str() else { continue };
        let now = Instant::now();
        let name = name_of(package);
        match crates.iter_mut().find(|(other, _)| *other == name) {
            Some((_, time)) => *time += now - last,
            None => crates.push((name, now - last)),
        }
        last = now;
    }
    let status = cargo.wait().expect("cargo was started");
    assert!(status.success(), "the macro crate does not compile");
    (begin.elapsed(), crates)
}

/// `registry+https://...#syn@3.0.10` or `path+file:///.../pipeline-macros#0.1.0`.
fn name_of(package: &str) -> String {
    let (path, version) = package.split_once('#').unwrap_or((package, ""));
    match version.split_once('@') {
        Some((name, _)) => name.to_owned(),
        None => path.rsplit('/').next().unwrap_or(path).to_owned(),
    }
}
