//! What models share, under the field's own names.

mod attention;
mod batch;
mod experts;
mod linear;
mod mlp;
mod norm;
mod paged_cache;
mod rotary;
mod weights;

pub use attention::{AttentionParts, GroupedQueryAttention, KvCache};
pub use batch::{Batch, DeviceBatch, Sequence};
pub use experts::{
    Capacity, DeviceRouting, ExpertNames, LayerRouting, Overflow, Routing, RoutingPolicy, RoutingStack,
    SparseExperts, SwiGlu, TopKRouter,
};
pub use linear::{Embedding, Linear};
pub use mlp::GatedMlp;
pub use norm::RmsNorm;
pub use paged_cache::{CacheShape, PAGE, PagedCache};
pub use rotary::{BatchRotation, DeviceRotation, RotaryEmbedding, Rotation};
pub use weights::Weights;
