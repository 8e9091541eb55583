//! Tokens, chat templates, sampling, streaming.
