//! `GALLERY.md`: mistakes, and what the compiler says of them, as the cases in `fail/` have it.

use std::fs;
use std::path::Path;

use expect_test::expect_file;

/// The mistakes by what they are about: the heading, then each case of `fail/` with what is wrong there.
const SECTIONS: [(&str, &[(&str, &str)]); 5] = [
    (
        "Words",
        &[
            ("arch_unknown", "The architecture is misspelt."),
            ("arch_not_yet", "The architecture is planned and not there yet."),
            ("task_unknown", "The task is misspelt."),
            ("task_not_yet", "The architecture cannot do the task yet."),
            ("task_of_another_arch", "The task is another architecture's."),
            ("key_unknown", "A key is misspelt."),
            ("hardware_vague", "Hardware is named that several makers have."),
            ("hardware_foreign", "Hardware is named that there is no support for."),
            ("dtype_hardware", "The number format is not one that the hardware computes in."),
            ("on_enum", "The attribute stands on something other than a struct."),
        ],
    ),
    (
        "Parameters",
        &[
            ("param_unknown", "The name of a parameter is misspelt."),
            ("param_default_out_of_range", "A default is outside of the parameter's range."),
            ("param_type_integer", "A field has a type that the parameter cannot be set from."),
            ("param_default_missing", "A parameter has no default, and its type has no room for that."),
            ("param_of_another_arch", "A parameter is another architecture's."),
            ("contradiction_task", "A parameter has no effect on the task."),
            ("contradiction_greedy", "Two parameters contradict each other."),
            (
                "arch_not_yet_all_at_once",
                "The parameters of an architecture that is not there yet are checked all the same.",
            ),
        ],
    ),
    (
        "The checkpoint",
        &[
            ("model_too_few_experts", "A parameter asks for more than the checkpoint has."),
            ("model_of_another_arch", "The checkpoint is of another architecture."),
            ("model_context", "More tokens are to be generated than the context holds."),
            ("model_without_head", "The checkpoint cannot do the task."),
            ("model_rope", "A field of `config.json` says what nobody knows."),
            ("model_rope_band", "Fields of `config.json` contradict each other."),
            ("model_windows", "A field of `config.json` is of a model with more layers."),
            ("model_tensor_shape", "A tensor has another shape than `config.json` gives it."),
            ("model_tensor_missing", "A tensor is missing."),
            ("model_bias_missing", "The checkpoint is of a family whose maps have no biases."),
            ("model_shard_missing", "A file of weights was not downloaded."),
            ("model_truncated", "A file of weights was not downloaded to its end."),
            ("model_tokenizer", "The tokenizer is of another model."),
            ("model_above", "The path begins at the workspace, not at the crate."),
            ("model_missing", "There is no checkpoint and no snapshot of it."),
            (
                "snapshot_too_few_experts",
                "A parameter asks for more than the checkpoint has, which is not there but has a snapshot.",
            ),
        ],
    ),
    (
        "Pipelines as parts",
        &[
            ("part_of_moe", "The architecture takes no parts."),
            ("part_not_a_pipeline", "The part is no pipeline."),
            ("part_wrong_task", "The part does another task."),
            ("part_no_overlap", "The part runs on other hardware."),
        ],
    ),
    (
        "Stages",
        &[
            ("override_and_custom", "A stage is overridden twice."),
            ("custom_format_missing", "A stage is promised and not implemented."),
            ("stages_in_wrong_order", "The stages are called in the wrong order."),
            ("all_at_once", "Everything at once: each mistake is told, and none hides another."),
        ],
    ),
];

/// `GALLERY.md` is what is made of the cases.
pub(super) fn is_up_to_date() {
    expect_file!["../../GALLERY.md"].assert_eq(&gallery());
}

fn gallery() -> String {
    let mut gallery = String::from(
        "# What the compiler says\n\nMistakes in declarations, each with the answer as it is printed (`$WORKSPACE` is this folder's parent). Every case begins with \
         `use pipelines::prelude::*;`, which is left out here with the empty line after it and with an empty `main`. The \
         cases are tests (`ui-tests/tests/fail`), and so is this file: it is made from them.\n",
    );
    for (heading, mistakes) in SECTIONS {
        gallery += &format!("\n## {heading}\n");
        for (case, sentence) in mistakes {
            let (source, answer) = (read(case, "rs"), read(case, "stderr"));
            let declaration = declaration(&source);
            gallery += &format!(
                "\n{sentence}\n\n```rust\n{declaration}\n```\n\n```text\n{}\n```\n",
                answer.trim_end()
            );
        }
    }
    gallery
}

fn read(case: &str, extension: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/fail/{case}.{extension}"));
    let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    text.replace("\r\n", "\n")
}

/// The case without what all cases have.
fn declaration(case: &str) -> &str {
    let case = case.strip_prefix("use pipelines::prelude::*;\n").unwrap_or(case).trim();
    case.strip_suffix("fn main() {}").unwrap_or(case).trim_end()
}
