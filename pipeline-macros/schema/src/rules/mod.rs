//! The rules, a function each.
//!
//! [`check_declaration`] looks at a declaration alone, [`check_checkpoint`] at a declaration and its
//! checkpoint. The macro calls both while compiling and the loader calls both again with what it has at run
//! time; each returns every problem, and none when all is well.

mod checkpoint;
mod declaration;
mod tensors;

use crate::arch::{self, ArchitectureSpec};
use crate::checkpoint::Checkpoint;
use crate::dtype::DType;
use crate::hardware::Hardware;
use crate::parameter::Value;
use crate::problem::Problem;
use crate::task::TaskSpec;

/// What a declaration, or a call of the builder, asks for.
#[derive(Clone, Debug, PartialEq)]
pub struct Request {
    /// The architecture.
    pub architecture: &'static ArchitectureSpec,
    /// The task.
    pub task: &'static TaskSpec,
    /// Where the pipeline may run, in order.
    pub hardware: Vec<Hardware>,
    /// What to compute in; without it, what the checkpoint is stored in.
    pub dtype: Option<DType>,
    /// The parameters that are declared, by name, each with its value where it is given one.
    pub parameters: Vec<(String, Option<Value>)>,
    /// The parts that are declared, by name.
    pub parts: Vec<String>,
}

impl Request {
    /// A request for a task, without anything adjusted.
    pub fn new(
        architecture: &'static ArchitectureSpec,
        task: &'static TaskSpec,
        hardware: Vec<Hardware>,
    ) -> Request {
        Request { architecture, task, hardware, dtype: None, parameters: Vec::new(), parts: Vec::new() }
    }

    /// Whether the parameter is declared, with a value or without.
    fn declares(&self, name: &str) -> bool {
        self.parameters.iter().any(|(parameter, _)| parameter == name)
    }

    /// The value of a parameter, where it is given one.
    fn value(&self, name: &str) -> Option<&Value> {
        self.parameters.iter().find(|(parameter, _)| parameter == name)?.1.as_ref()
    }

    /// The value of a parameter, where it is given a whole number.
    fn integer(&self, name: &str) -> Option<i128> {
        match self.value(name)? {
            Value::Integer(number) => Some(*number),
            _ => None,
        }
    }
}

/// Everything that is wrong with a declaration, whatever its checkpoint.
///
/// ```
/// use pipeline_schema::rules::{Request, check_declaration};
/// use pipeline_schema::{Hardware, Value, arch, task};
/// let mut request = Request::new(&arch::MOE, &task::TEXT_GENERATION, vec![Hardware::Cpu]);
/// assert!(check_declaration(&request).is_empty());
/// request.parameters.push(("temprature".to_owned(), Some(Value::Float(0.8))));
/// assert_eq!(
///     check_declaration(&request)[0].message,
///     "unknown parameter `temprature`; did you mean `temperature`?",
/// );
/// ```
pub fn check_declaration(request: &Request) -> Vec<Problem> {
    let mut problems = Vec::new();
    problems.extend(declaration::task_belongs_to_architecture(request, &arch::ARCHITECTURES));
    problems.extend(declaration::hardware_is_named(request));
    problems.extend(declaration::hardware_is_named_once(request));
    problems.extend(declaration::hardware_computes_in_dtype(request));
    problems.extend(declaration::parameters_are_known(request, &arch::ARCHITECTURES));
    problems.extend(declaration::parameters_are_declared_once(request));
    problems.extend(declaration::values_fit_their_parameters(request));
    problems.extend(declaration::parts_are_known(request, &arch::ARCHITECTURES));
    problems.extend(declaration::needed_parts_are_declared(request));
    problems.extend(declaration::greedy_decoding_has_nothing_to_sample(request));
    problems.extend(declaration::overflow_needs_a_capacity(request));
    problems
}

/// Everything that is wrong between a declaration and its checkpoint.
pub fn check_checkpoint(checkpoint: &Checkpoint, request: &Request) -> Vec<Problem> {
    // What is no model of this architecture has no sensible list of tensors either: these rules come alone.
    if let Some(problem) = checkpoint::model_type_belongs_to_architecture(checkpoint, request) {
        return vec![problem];
    }
    let model = match checkpoint.model() {
        Ok(model) => model,
        Err(problems) => return problems,
    };
    let head = match checkpoint.head() {
        Ok(head) => head,
        Err(problem) => return vec![problem],
    };
    let mut problems = Vec::new();
    problems.extend(checkpoint::head_can_do_the_task(checkpoint, head, request));
    if let Some(experts) = model.experts() {
        problems.extend(checkpoint::enough_experts(checkpoint, &experts));
        problems.extend(checkpoint::enough_experts_for_the_parameter(checkpoint, &experts, request));
    }
    if let Some(attention) = model.attention() {
        problems.extend(checkpoint::heads_divide_the_hidden_size(checkpoint, &attention));
        problems.extend(checkpoint::head_dim_is_even(checkpoint, &attention));
        problems.extend(checkpoint::key_value_heads_divide_heads(checkpoint, &attention));
        problems.extend(checkpoint::context_holds_new_tokens(checkpoint, &attention, request));
    }
    // Where the sizes contradict each other, the tensors cannot but be wrong, too.
    let about_sizes = |problem: &Problem| problem.subject == crate::Subject::Model;
    if !problems.iter().any(about_sizes) {
        problems.extend(checkpoint.tensor_problems(|| tensors::check_tensors(checkpoint, &model, head)));
    }
    if let Some(vocab_size) = model.vocab_size() {
        problems.extend(checkpoint::tokenizer_fits_vocabulary(checkpoint, vocab_size));
    }
    problems
}
