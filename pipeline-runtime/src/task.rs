//! A type per task, so that a stage of one task cannot be put into a pipeline of another.

use pipeline_schema::{TaskSpec, task};

use crate::arch::generation::Prompt;

/// What a pipeline is asked to do: a type of [`task`](self), or one of your own.
pub trait Task: 'static {
    /// Name, aliases and description.
    const SPEC: &'static TaskSpec;
}

/// A task that a pipeline can do as a part of another, whatever its architecture is.
#[diagnostic::on_unimplemented(
    message = "a pipeline of the task `{Self}` cannot be a part of another",
    label = "not a part's task",
    note = "implement `pipelines::task::PartTask` for `{Self}`: what every pipeline of that task takes and gives"
)]
pub trait PartTask: Task {
    /// What every pipeline of this task takes: its input can be made from it.
    type Input: 'static;
    /// What every pipeline of this task gives: its output can be made into it.
    type Output: 'static;
}

/// Continues a prompt or answers a conversation: `text-generation`.
#[derive(Debug, Clone, Copy)]
pub enum TextGeneration {}

impl Task for TextGeneration {
    const SPEC: &'static TaskSpec = &task::TEXT_GENERATION;
}

impl PartTask for TextGeneration {
    type Input = Prompt;
    type Output = GeneratedText;
}

/// What every pipeline gives that generates text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GeneratedText {
    /// The whole text: the prompt and its continuation, or the answer to a conversation.
    pub text: String,
    /// What was generated, without the prompt.
    pub completion: String,
}

/// Turns a text into a vector: `feature-extraction`.
#[derive(Debug, Clone, Copy)]
pub enum FeatureExtraction {}

impl Task for FeatureExtraction {
    const SPEC: &'static TaskSpec = &task::FEATURE_EXTRACTION;
}

impl PartTask for FeatureExtraction {
    type Input = Prompt;
    /// The embedding.
    type Output = Vec<f32>;
}

/// A type for each task that no architecture of this crate does yet; one of your own can.
macro_rules! tasks {
    ($($name:ident: $spec:ident;)*) => {
        $(
            #[doc = concat!("The task [`", stringify!($spec), "`](task::", stringify!($spec), ").")]
            #[derive(Debug, Clone, Copy)]
            pub enum $name {}

            impl Task for $name {
                const SPEC: &'static TaskSpec = &task::$spec;
            }
        )*

        #[cfg(test)]
        const TO_COME: &[(&str, &TaskSpec)] = &[$((stringify!($name), $name::SPEC)),*];
    };
}

tasks! {
    TextClassification: TEXT_CLASSIFICATION;
    TokenClassification: TOKEN_CLASSIFICATION;
    QuestionAnswering: QUESTION_ANSWERING;
    FillMask: FILL_MASK;
    ZeroShotClassification: ZERO_SHOT_CLASSIFICATION;
    Text2TextGeneration: TEXT2TEXT_GENERATION;
    Translation: TRANSLATION;
    Summarization: SUMMARIZATION;
    SentenceSimilarity: SENTENCE_SIMILARITY;
    TextRanking: TEXT_RANKING;
    DocumentRetrieval: DOCUMENT_RETRIEVAL;
    Chat: CHAT;
    ImageClassification: IMAGE_CLASSIFICATION;
    ObjectDetection: OBJECT_DETECTION;
    ImageSegmentation: IMAGE_SEGMENTATION;
    ImageFeatureExtraction: IMAGE_FEATURE_EXTRACTION;
    DepthEstimation: DEPTH_ESTIMATION;
    ImageTextMatching: IMAGE_TEXT_MATCHING;
    ZeroShotImageClassification: ZERO_SHOT_IMAGE_CLASSIFICATION;
    VisualQuestionAnswering: VISUAL_QUESTION_ANSWERING;
    ImageToText: IMAGE_TO_TEXT;
    AutomaticSpeechRecognition: AUTOMATIC_SPEECH_RECOGNITION;
    AudioClassification: AUDIO_CLASSIFICATION;
    ZeroShotAudioClassification: ZERO_SHOT_AUDIO_CLASSIFICATION;
    TextToSpeech: TEXT_TO_SPEECH;
    MultimodalClassification: MULTIMODAL_CLASSIFICATION;
    ImageTextToText: IMAGE_TEXT_TO_TEXT;
    MultimodalRetrieval: MULTIMODAL_RETRIEVAL;
    TextToImage: TEXT_TO_IMAGE;
    ImageToImage: IMAGE_TO_IMAGE;
    Inpainting: INPAINTING;
    ImageVariation: IMAGE_VARIATION;
    MaskGeneration: MASK_GENERATION;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_task_has_its_type() {
        let done = [("TextGeneration", TextGeneration::SPEC), ("FeatureExtraction", FeatureExtraction::SPEC)];
        let types: Vec<_> = done.iter().chain(TO_COME).collect();
        assert_eq!(types.len(), task::TASKS.len());
        for ((name, spec), expected) in types.into_iter().zip(task::TASKS) {
            assert_eq!((spec, *name), (expected, expected.type_name));
        }
    }
}
