//! What a pipeline can be asked to do, in the words of Hugging Face.

/// A task: its name, the other spellings it answers to, and the marker type that stands for it in Rust.
#[derive(Debug, PartialEq, Eq)]
pub struct TaskSpec {
    /// The name as Hugging Face writes it.
    pub name: &'static str,
    /// Other accepted spellings, besides the name with `_` for `-`.
    pub aliases: &'static [&'static str],
    /// The type in `pipelines::task` that stands for it.
    pub type_name: &'static str,
    /// What goes in and what comes out, in a sentence.
    pub description: &'static str,
}

/// A constant a task, and the list of all.
macro_rules! tasks {
    ($($constant:ident: $name:literal $aliases:tt $type_name:literal, $description:literal;)*) => {
        $(
            #[doc = concat!("`", $name, "`: ", $description, ".")]
            pub const $constant: TaskSpec = TaskSpec {
                name: $name,
                aliases: &$aliases,
                type_name: $type_name,
                description: $description,
            };
        )*

        /// Every task there is.
        pub const TASKS: &[&TaskSpec] = &[$(&$constant),*];
    };
}

tasks! {
    TEXT_GENERATION: "text-generation" [] "TextGeneration",
        "continues a prompt or answers a conversation";
    FEATURE_EXTRACTION: "feature-extraction" ["text_embedding", "text-embedding"] "FeatureExtraction",
        "turns a text into a vector";
    TEXT_CLASSIFICATION: "text-classification" ["sentiment-analysis"] "TextClassification",
        "says which of a model's labels a text has";
    TOKEN_CLASSIFICATION: "token-classification" ["ner"] "TokenClassification",
        "labels the words of a text: names, places, parts of speech";
    QUESTION_ANSWERING: "question-answering" ["generative_qa", "generative-qa"] "QuestionAnswering",
        "answers a question from a text that is given or found";
    FILL_MASK: "fill-mask" [] "FillMask",
        "says which words fit into a gap";
    ZERO_SHOT_CLASSIFICATION: "zero-shot-classification" [] "ZeroShotClassification",
        "says which of the labels given with it a text has";
    TEXT2TEXT_GENERATION: "text2text-generation" [] "Text2TextGeneration",
        "writes a text from another";
    TRANSLATION: "translation" [] "Translation",
        "writes a text in another language";
    SUMMARIZATION: "summarization" [] "Summarization",
        "says what a text says in fewer words";
    SENTENCE_SIMILARITY: "sentence-similarity" [] "SentenceSimilarity",
        "says how near texts are in meaning";
    TEXT_RANKING: "text-ranking" ["reranking"] "TextRanking",
        "orders documents by how well they answer a query";
    DOCUMENT_RETRIEVAL: "document-retrieval" [] "DocumentRetrieval",
        "finds the documents that answer a query";
    CHAT: "chat" ["conversational"] "Chat",
        "answers a conversation from documents that are found";
    IMAGE_CLASSIFICATION: "image-classification" [] "ImageClassification",
        "says which of a model's labels an image has";
    OBJECT_DETECTION: "object-detection" [] "ObjectDetection",
        "finds things in an image, each in a box";
    IMAGE_SEGMENTATION: "image-segmentation" [] "ImageSegmentation",
        "says for every pixel of an image what it belongs to";
    IMAGE_FEATURE_EXTRACTION: "image-feature-extraction" [] "ImageFeatureExtraction",
        "turns an image into a vector";
    DEPTH_ESTIMATION: "depth-estimation" [] "DepthEstimation",
        "says for every pixel of an image how far away it is";
    IMAGE_TEXT_MATCHING: "image-text-matching" [] "ImageTextMatching",
        "says how well texts describe an image";
    ZERO_SHOT_IMAGE_CLASSIFICATION: "zero-shot-image-classification" [] "ZeroShotImageClassification",
        "says which of the labels given with it an image has";
    VISUAL_QUESTION_ANSWERING: "visual-question-answering" ["vqa"] "VisualQuestionAnswering",
        "answers a question about an image";
    IMAGE_TO_TEXT: "image-to-text" ["image-captioning"] "ImageToText",
        "describes an image";
    AUTOMATIC_SPEECH_RECOGNITION: "automatic-speech-recognition" ["asr"] "AutomaticSpeechRecognition",
        "writes down what is said";
    AUDIO_CLASSIFICATION: "audio-classification" [] "AudioClassification",
        "says which of a model's labels a recording has";
    ZERO_SHOT_AUDIO_CLASSIFICATION: "zero-shot-audio-classification" [] "ZeroShotAudioClassification",
        "says which of the labels given with it a recording has";
    TEXT_TO_SPEECH: "text-to-speech" ["text-to-audio"] "TextToSpeech",
        "says a text aloud";
    MULTIMODAL_CLASSIFICATION: "multimodal-classification" [] "MultimodalClassification",
        "says which of a model's labels an image and a text have together";
    IMAGE_TEXT_TO_TEXT: "image-text-to-text" [] "ImageTextToText",
        "continues a conversation that has images in it";
    MULTIMODAL_RETRIEVAL: "multimodal-retrieval" [] "MultimodalRetrieval",
        "finds the images and texts that answer a query";
    TEXT_TO_IMAGE: "text-to-image" ["image_generation", "image-generation"] "TextToImage",
        "draws what a prompt describes";
    IMAGE_TO_IMAGE: "image-to-image" [] "ImageToImage",
        "draws an image anew after a prompt";
    INPAINTING: "inpainting" [] "Inpainting",
        "draws the masked part of an image anew after a prompt";
    IMAGE_VARIATION: "image-variation" [] "ImageVariation",
        "draws an image that resembles another";
    // Under `vision`, `image_segmentation` is a task of its own.
    MASK_GENERATION: "mask-generation" ["image_segmentation", "image-segmentation"] "MaskGeneration",
        "cuts out what points and boxes in an image mean";
}

impl TaskSpec {
    /// Whether `name` is this task's name, with `_` or `-`, or an alias of it.
    pub fn answers_to(&self, name: &str) -> bool {
        self.name == name.replace('_', "-") || self.aliases.contains(&name)
    }
}

/// The task that `name` or an alias stands for, whatever the architecture; see
/// [`ArchitectureSpec::task`](crate::ArchitectureSpec::task).
pub fn find(name: &str) -> Option<&'static TaskSpec> {
    TASKS.iter().copied().find(|task| task.answers_to(name))
}
