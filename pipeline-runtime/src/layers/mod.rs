//! What models share, under the field's own names.

mod attention;
mod batch;
mod experts;
mod linear;
mod mlp;
mod norm;
mod rotary;
mod weights;

pub use attention::{AttentionParts, GroupedQueryAttention, KvCache};
pub use batch::{Batch, Sequence};
pub use experts::{
    Capacity, LayerRouting, Overflow, Routing, RoutingPolicy, SparseExperts, SwiGlu, TopKRouter,
};
pub use linear::{Embedding, Linear};
pub use mlp::GatedMlp;
pub use norm::RmsNorm;
pub use rotary::{RotaryEmbedding, Rotation};
pub use weights::Weights;
