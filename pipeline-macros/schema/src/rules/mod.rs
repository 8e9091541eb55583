//! The rules, a function each.
//!
//! [`check_declaration`] looks at a declaration alone, [`check_checkpoint`] at a declaration and its
//! checkpoint. The macro calls both while compiling and the loader calls both again with what it has at run
//! time; each returns every problem, and none when all is well.

mod checkpoint;
mod contradictions;
mod declaration;
mod tensors;

pub use self::declaration::{hardware_computes_in_dtype, not_done_yet, not_run_yet, possible_tasks};
use crate::arch::ArchitectureSpec;
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
    /// The task; `None` where it is not known, and nothing that depends on it is judged.
    pub task: Option<&'static TaskSpec>,
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
        Request {
            architecture,
            task: Some(task),
            hardware,
            dtype: None,
            parameters: Vec::new(),
            parts: Vec::new(),
        }
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

    /// The value of a parameter, where it is given a number.
    fn number(&self, name: &str) -> Option<f64> {
        self.value(name)?.as_f64()
    }

    /// The value of a parameter, where it is given a text.
    fn text(&self, name: &str) -> Option<&str> {
        match self.value(name)? {
            Value::Text(text) => Some(text),
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
    problems.extend(declaration::architecture_runs(request));
    problems.extend(declaration::task_belongs_to_architecture(request));
    problems.extend(declaration::task_runs(request));
    problems.extend(declaration::hardware_is_named(request));
    problems.extend(declaration::hardware_is_named_once(request));
    problems.extend(declaration::hardware_computes_in_dtype(request));
    problems.extend(declaration::parameters_are_known(request));
    problems.extend(declaration::parameters_can_be_set(request));
    problems.extend(declaration::parameters_are_declared_once(request));
    problems.extend(check_values(request));
    problems.extend(declaration::parts_are_known(request));
    problems.extend(declaration::needed_parts_are_declared(request));
    problems.extend(contradictions::parameters_are_of_the_task(request));
    problems.extend(contradictions::greedy_decoding_has_nothing_to_sample(request));
    problems.extend(contradictions::overflow_needs_a_capacity(request));
    problems.extend(contradictions::switch_routing_has_one_active_expert(request));
    problems.extend(contradictions::negative_prompt_needs_guidance(request));
    problems.extend(contradictions::point_labels_need_points(request));
    problems.extend(contradictions::every_point_has_a_label(request));
    problems.extend(contradictions::given_context_skips_retrieval(request));
    problems.extend(contradictions::reranking_needs_a_reranker(request));
    problems
}

/// Everything that is wrong with the values of parameters, each for itself: what holds of a declaration's defaults holds
/// of what a call sets.
pub fn check_values(request: &Request) -> Vec<Problem> {
    let mut problems = declaration::values_fit_their_parameters(request);
    problems.extend(declaration::sides_are_multiples_of_eight(request));
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
        problems.extend(tensors::check_tensors(checkpoint, &model, head));
    }
    if let Some(vocab_size) = model.vocab_size() {
        problems.extend(checkpoint::tokenizer_fits_vocabulary(checkpoint, vocab_size));
    }
    problems
}
