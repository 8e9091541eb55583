//! What the macro costs while compiling, as a user pays it: crates outside the workspace with cargo's own profiles.
//!
//! `cargo bench -p pipeline-macros --bench compile`, or with `-- expansion`, `-- crate` or `-- cold` one part alone. All
//! sides of a table take turns; times are medians with the least and the greatest in brackets, in milliseconds.

mod checkpoint;
mod cold;
mod declarations;
mod scratch;

use std::time::Duration;

use self::scratch::Scratch;

/// How often every side is measured.
const TURNS: usize = 25;

fn main() {
    let named: Vec<String> = std::env::args().skip(1).filter(|argument| !argument.starts_with('-')).collect();
    let wanted = |part: &str| named.is_empty() || named.iter().any(|name| name == part);
    if wanted("expansion") {
        expansion();
    }
    if wanted("crate") {
        whole_crate();
    }
    if wanted("cold") {
        cold::cold_build();
    }
}

/// A crate to be checked, and how long that took in every turn.
struct Side {
    name: &'static str,
    source: String,
    times: Vec<Duration>,
}

impl Side {
    fn new(name: &'static str, source: String) -> Side {
        Side { name, source, times: Vec::new() }
    }

    /// In milliseconds, by turn.
    fn milliseconds(&self) -> Vec<f64> {
        self.times.iter().copied().map(milliseconds).collect()
    }

    /// What this adds over `base`: the median of the differences of each turn.
    fn over(&self, base: &Side) -> f64 {
        let times = self.milliseconds().into_iter().zip(base.milliseconds());
        median(times.map(|(time, base)| time - base).collect())
    }
}

fn median(mut numbers: Vec<f64>) -> f64 {
    numbers.sort_by(f64::total_cmp);
    numbers[numbers.len() / 2]
}

/// Checks the sides in turns.
fn measure(scratch: &Scratch, incremental: bool, sides: &mut [Side]) {
    // Once before, so that what all depend on is built and in memory.
    for turn in 0..=TURNS {
        for side in &mut *sides {
            let time = scratch.check(side.name, &side.source, incremental);
            if turn > 0 {
                side.times.push(time);
            }
        }
    }
}

/// A line for every side: the whole time, and what it adds over the first.
fn print(sides: &[Side]) {
    for side in sides {
        let times = side.milliseconds();
        let (least, most) =
            times.iter().fold((f64::MAX, 0.0_f64), |(least, most), &time| (least.min(time), most.max(time)));
        let (name, median, added) = (side.name, median(times), side.over(&sides[0]));
        println!("  {name:<44} {median:7.1} ({least:.1} to {most:.1})   +{added:.1}");
    }
}

fn milliseconds(time: Duration) -> f64 {
    1e3 * time.as_secs_f64()
}

/// What a pipeline with a model of 50,000 tensors adds to a crate, beside the same one without a model.
fn expansion() {
    let scratch = Scratch::new("expansion");
    let tensors = checkpoint::write(&scratch.root().join("checkpoints/large"));
    let without = |count| declarations::pipelines(count, "");
    let with = |count| declarations::pipelines(count, ", model = \"checkpoints/large\"");
    let mut sides = [
        Side::new("one pipeline without a model", without(1)),
        Side::new("one pipeline with the model", with(1)),
        Side::new("ten pipelines without a model", without(10)),
        Side::new("ten pipelines with the model", with(10)),
    ];
    measure(&scratch, false, &mut sides);
    println!(
        "`cargo check` of a crate with a checkpoint of {tensors} tensors in {} files",
        checkpoint::SHARDS
    );
    print(&sides);
    let [without_one, with_one, without_ten, with_ten] = &sides;
    let (first, ten) = (with_one.over(without_one), with_ten.over(without_ten));
    println!(
        "  the model adds {first:.1} to the first pipeline that has it, and {:.1} to each further one\n",
        (ten - first) / 9.0
    );
}

/// What 100 pipelines add to a crate, beside the same impls written by hand.
fn whole_crate() {
    let scratch = Scratch::new("whole-crate");
    for incremental in [false, true] {
        let mut sides = [
            Side::new("an empty crate", declarations::empty()),
            Side::new("100 pipelines, impls written by hand", declarations::by_hand(100)),
            Side::new("100 pipelines, declared", declarations::pipelines(100, "")),
        ];
        measure(&scratch, incremental, &mut sides);
        let what = if incremental { "again, nothing changed (incremental)" } else { "from nothing" };
        println!("`cargo check` of a crate, {what}");
        print(&sides);
        let [empty, by_hand, declared] = &sides;
        let whole = median(declared.milliseconds()) / median(by_hand.milliseconds());
        let added = declared.over(empty) / by_hand.over(empty);
        println!("  declared to hand-written: {whole:.2} of the whole time, {added:.2} of what is added\n");
    }
}
