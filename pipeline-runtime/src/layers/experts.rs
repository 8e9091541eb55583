//! Mixtures of experts: the router, what it decides, and the experts (<https://arxiv.org/abs/2401.04088>).

use crate::error::{Error, Result};
use crate::gpu::{Buffer, Device, Fetched};
use crate::kernels::experts::gpu::{DeviceExperts, ExpertsBuffers, experts as experts_on_device};
use crate::kernels::experts::quantized::{QuantizedExperts, quantized_experts};
use crate::kernels::experts::{DROPPED, ExpertRouting, ExpertWeights, ExpertsShape, experts};
use crate::kernels::norm::RmsNormShape;
use crate::kernels::router::gpu::{ROWS_ALONE, RouterBuffers, rms_norm_router, router};
use crate::kernels::router::{TopKShape, softmax_top_k};
use crate::layers::{Linear, RmsNorm, Weights};
use crate::tensor::{DeviceTensor, Matrix, Tensor};
use crate::text::as_written;

/// How tokens are distributed over experts in a call.
#[derive(Clone, Debug, PartialEq)]
pub struct RoutingPolicy {
    /// Experts that each token visits.
    pub num_active_experts: usize,
    /// How many tokens an expert takes at most; `None` is no limit.
    pub capacity: Option<Capacity>,
}

/// A limit on the tokens of an expert.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Capacity {
    /// An expert takes this many times its even share of the tokens that are routed together, rounded up.
    pub factor: f32,
    /// What becomes of the tokens above it.
    pub overflow: Overflow,
}

/// What becomes of a token whose expert is full.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Overflow {
    /// It gets nothing from that expert.
    Drop,
    /// It goes to the expert it ranks next that has room; when none has, it gets nothing.
    Reroute,
}

/// What the router decided for one layer and a batch of tokens.
#[derive(Clone, Debug)]
pub struct Routing {
    /// The chosen experts `(tokens, k)`, the strongest first; `u32::MAX` where a token was dropped.
    pub experts: Vec<u32>,
    /// Their weights `(tokens, k)`.
    pub weights: Vec<f32>,
    /// Experts a token.
    pub k: usize,
}

/// The router's decision with the logits it comes from.
#[derive(Clone, Debug)]
pub struct LayerRouting {
    /// Router logits `(tokens, experts)`.
    pub router_logits: Tensor,
    /// The decision.
    pub routing: Routing,
}

/// Chooses the `k` likeliest experts of a softmax over all, and scales their weights to sum to one.
#[derive(Clone, Debug)]
pub struct TopKRouter {
    gate: Linear,
}

impl TopKRouter {
    /// Reads `weight` `(experts, hidden_size)`.
    ///
    /// # Errors
    /// The weight is missing or has another shape.
    pub fn load(weights: &Weights<'_>, hidden_size: usize, experts: usize) -> Result<TopKRouter> {
        // Never quantised: which experts a token visits hangs on small differences, and the matrix is small.
        Ok(TopKRouter { gate: Linear::new(weights.matrix("weight", experts, hidden_size)?) })
    }

    /// The router with this gate.
    pub fn new(gate: Linear) -> TopKRouter {
        TopKRouter { gate }
    }

    /// `(tokens, hidden_size)` to the experts of each token.
    ///
    /// # Errors
    /// The input has another width.
    pub fn forward(&self, hidden: &Tensor, policy: &RoutingPolicy) -> Result<LayerRouting> {
        let router_logits = self.gate.forward(hidden)?; // (tokens, experts)
        let (_, num_experts) = router_logits.rows_and_width();
        let k = policy.num_active_experts.clamp(1, num_experts);
        let logits = router_logits.as_slice()?;
        let chosen = softmax_top_k(&logits, TopKShape { experts: num_experts, k, normalize: true });
        let mut routing = Routing { experts: chosen.experts, weights: chosen.weights, k };
        if let Some(capacity) = policy.capacity {
            limit(&mut routing, &logits, num_experts, capacity);
        }
        drop(logits);
        Ok(LayerRouting { router_logits, routing })
    }
}

/// The decisions of all layers of a pass, where the model is.
#[derive(Debug)]
pub enum RoutingStack {
    /// On the processor: those of the layers so far.
    Host(Vec<LayerRouting>),
    /// On a GPU.
    Device(DeviceRouting),
}

/// The decisions of all layers of a pass on a GPU, so that they are fetched at once.
#[derive(Debug)]
pub struct DeviceRouting {
    device: Device,
    /// Layers that have decided.
    decided: usize,
    layers: usize,
    rows: usize,
    num_experts: usize,
    k: usize,
    /// `f32 (layers, rows, num_experts)`
    logits: Buffer,
    /// `u32 (layers, rows, k)`
    experts: Buffer,
    /// `f32 (layers, rows, k)`
    weights: Buffer,
}

impl RoutingStack {
    /// Room for the decisions of `layers` layers over the rows of `hidden`.
    ///
    /// # Errors
    /// The device has none.
    pub fn new(
        hidden: &Tensor,
        layers: usize,
        num_experts: usize,
        policy: &RoutingPolicy,
    ) -> Result<RoutingStack> {
        let Some(tensor) = hidden.on_device() else {
            return Ok(RoutingStack::Host(Vec::with_capacity(layers)));
        };
        let (device, (rows, _)) = (tensor.device().clone(), hidden.rows_and_width());
        let k = policy.num_active_experts.clamp(1, num_experts);
        Ok(RoutingStack::Device(DeviceRouting {
            logits: device.allocate(layers * rows * num_experts * 4)?,
            experts: device.allocate(layers * rows * k * 4)?,
            weights: device.allocate(layers * rows * k * 4)?,
            device,
            decided: 0,
            layers,
            rows,
            num_experts,
            k,
        }))
    }

    /// The decisions in the memory of the processor, a layer each. Waits for the device.
    ///
    /// # Errors
    /// Work on the device failed.
    pub fn into_host(self) -> Result<Vec<LayerRouting>> {
        match self {
            RoutingStack::Host(layers) => Ok(layers),
            RoutingStack::Device(stack) => stack.to_host(),
        }
    }
}

impl DeviceRouting {
    fn to_host(&self) -> Result<Vec<LayerRouting>> {
        let rows = self.decided * self.rows;
        let logits = self.device.read(&self.logits, 0, rows * self.num_experts)?;
        let experts = self.device.read(&self.experts, 0, rows * self.k)?;
        let weights = self.device.read(&self.weights, 0, rows * self.k)?;
        self.layers_of(&logits, &experts, &weights)
    }

    /// Logits, experts and weights of all layers, to be fetched.
    pub fn parts(&self) -> Vec<Buffer> {
        vec![self.logits.clone(), self.experts.clone(), self.weights.clone()]
    }

    /// The decisions from what was fetched of the parts.
    ///
    /// # Errors
    /// A size does not fit.
    pub fn fetched(&self, bytes: &mut Fetched<'_>) -> Result<Vec<LayerRouting>> {
        let rows = self.layers * self.rows;
        let logits = bytes.take(rows * self.num_experts);
        let experts = bytes.take(rows * self.k);
        let weights = bytes.take(rows * self.k);
        self.layers_of(&logits, &experts, &weights)
    }

    fn layers_of(&self, logits: &[f32], experts: &[u32], weights: &[f32]) -> Result<Vec<LayerRouting>> {
        let &DeviceRouting { decided, rows, num_experts, k, .. } = self;
        (0..decided)
            .map(|layer| {
                let of = |width: usize| layer * rows * width..(layer + 1) * rows * width;
                Ok(LayerRouting {
                    router_logits: Tensor::from_vec(logits[of(num_experts)].to_vec(), &[rows, num_experts])?,
                    routing: Routing {
                        experts: experts[of(k)].to_vec(),
                        weights: weights[of(k)].to_vec(),
                        k,
                    },
                })
            })
            .collect()
    }

    /// The parts of the next layer: logits, experts, weights.
    fn next(&mut self) -> Result<[Buffer; 3]> {
        if self.decided == self.layers {
            return Err(Error::Shape {
                operation: "routing",
                expected: format!("{} layers", self.layers),
                found: "one more".to_owned(),
            });
        }
        let layer = self.decided;
        self.decided += 1;
        let part = |buffer: &Buffer, width: usize| {
            let bytes = self.rows * width * 4;
            buffer.slice(layer * bytes, bytes)
        };
        Ok([part(&self.logits, self.num_experts), part(&self.experts, self.k), part(&self.weights, self.k)])
    }
}

/// Applies a capacity: tokens are seated in their order, all first choices before all second ones
/// (<https://arxiv.org/abs/2101.03961>, section 2.2).
fn limit(routing: &mut Routing, logits: &[f32], num_experts: usize, capacity: Capacity) {
    let k = routing.k;
    let tokens = routing.experts.len() / k;
    let even_share = (tokens * k) as f64 / num_experts as f64;
    // In `f32`, 1.2 times 12.5 is a little above 15.
    let room = (as_written(capacity.factor) * even_share).ceil() as usize;
    let mut load = vec![0; num_experts];
    for choice in 0..k {
        for token in 0..tokens {
            let seat = token * k + choice;
            let wanted = routing.experts[seat] as usize;
            let expert = if load[wanted] < room {
                Some(wanted)
            } else if capacity.overflow == Overflow::Reroute {
                let chosen = &routing.experts[token * k..][..k];
                let scores = &logits[token * num_experts..][..num_experts];
                (0..num_experts)
                    .filter(|&expert| load[expert] < room && !chosen.contains(&(expert as u32)))
                    .max_by(|&left, &right| scores[left].total_cmp(&scores[right]).then(right.cmp(&left)))
            } else {
                None
            };
            match expert {
                Some(expert) => {
                    load[expert] += 1;
                    routing.experts[seat] = expert as u32;
                }
                None => {
                    routing.experts[seat] = DROPPED;
                    routing.weights[seat] = 0.0;
                }
            }
        }
    }
}

/// A gated feed-forward network: `down(silu(gate x) * up x)` (<https://arxiv.org/abs/2002.05202>).
#[derive(Clone, Debug)]
pub struct SwiGlu {
    /// `(intermediate_size, hidden_size)`
    pub gate: Matrix,
    /// `(intermediate_size, hidden_size)`
    pub up: Matrix,
    /// `(hidden_size, intermediate_size)`
    pub down: Matrix,
}

/// Feed-forward networks of which each token visits a few, with the router that chooses them.
#[derive(Clone, Debug)]
pub struct SparseExperts {
    gate: TopKRouter,
    experts: Experts,
    num_experts: usize,
    hidden_size: usize,
    intermediate_size: usize,
}

#[derive(Clone, Debug)]
enum Experts {
    /// On the processor, where the weights stay where they are in their file.
    Apart(Vec<SwiGlu>),
    /// On a GPU, stacked.
    Stacked(DeviceExperts),
    /// On a GPU, stacked and quantised.
    Quantized(QuantizedExperts),
}

/// What the experts of a layer are called in a checkpoint.
#[derive(Clone, Copy, Debug)]
pub struct ExpertNames {
    /// The map to the gate.
    pub gate: &'static str,
    /// The map to what the gate lets through.
    pub up: &'static str,
    /// The map back.
    pub down: &'static str,
}

impl SparseExperts {
    /// Reads `gate.weight` `(num_experts, hidden_size)` and the experts below `experts`.
    ///
    /// # Errors
    /// A weight is missing or has another shape, or a GPU has no room.
    pub fn load(
        weights: &Weights<'_>,
        names: ExpertNames,
        num_experts: usize,
        hidden_size: usize,
        intermediate_size: usize,
    ) -> Result<SparseExperts> {
        // One format for all three: the kernels of a GPU take no other.
        let format = weights.map_format(&[hidden_size, intermediate_size]);
        let expert = |index: usize| {
            let weights = weights.pp("experts").pp(index);
            let matrix =
                |name: &str, out, from| weights.part_matrix(&format!("{name}.weight"), out, from, format);
            Ok(SwiGlu {
                gate: matrix(names.gate, intermediate_size, hidden_size)?,
                up: matrix(names.up, intermediate_size, hidden_size)?,
                down: matrix(names.down, hidden_size, intermediate_size)?,
            })
        };
        let experts = match weights.gpu() {
            None => Experts::Apart((0..num_experts).map(expert).collect::<Result<_>>()?),
            Some(device) => stacked(device, num_experts, hidden_size, intermediate_size, expert)?,
        };
        let gate = TopKRouter::load(&weights.pp("gate"), hidden_size, num_experts)?;
        Ok(SparseExperts { gate, experts, num_experts, hidden_size, intermediate_size })
    }

    /// `hidden` and the weighted sum of each token's experts over its norm added: `(tokens, hidden_size)` to the same.
    /// The decisions are added to `stack`.
    ///
    /// # Errors
    /// The input has another width, or is not where the weights are.
    pub fn add_to(
        &self,
        hidden: Tensor,
        norm: &RmsNorm,
        policy: &RoutingPolicy,
        stack: &mut RoutingStack,
    ) -> Result<Tensor> {
        match (&self.experts, stack) {
            (Experts::Apart(experts), RoutingStack::Host(layers)) => {
                let normed = norm.forward(&hidden)?;
                let decision = self.gate.forward(&normed, policy)?;
                let mixed = self.mix(&normed, &decision.routing, experts)?;
                layers.push(decision);
                hidden.add(&mixed)
            }
            (Experts::Stacked(_) | Experts::Quantized(_), RoutingStack::Device(stack)) => {
                let hidden = hidden.into_device()?.into_unique()?;
                self.add_to_on(&hidden, norm, policy, stack)?;
                Ok(hidden.into())
            }
            _ => Err(Error::Shape {
                operation: "experts",
                expected: "weights and decisions in one place".to_owned(),
                found: format!("{:?}", hidden.shape()),
            }),
        }
    }

    /// The same on a GPU: `hidden` is changed in place.
    fn add_to_on(
        &self,
        hidden: &DeviceTensor,
        norm: &RmsNorm,
        policy: &RoutingPolicy,
        stack: &mut DeviceRouting,
    ) -> Result<()> {
        let (device, gate) = (hidden.device(), self.gate.gate.weight());
        let gate = gate.on_device().ok_or_else(|| Error::Shape {
            operation: "router",
            expected: format!("weights on {device}"),
            found: "weights on the processor".to_owned(),
        })?;
        let (width, k) = (self.hidden_size, stack.k);
        let rows = hidden.elements() / width;
        let [logits, chosen, weights] = stack.next()?;
        let output = RouterBuffers { logits: &logits, experts: &chosen, weights: &weights };
        let shape = TopKShape { experts: self.num_experts, k, normalize: true };
        let dtype = gate.dtype();
        let normed = if rows <= ROWS_ALONE {
            let normed = DeviceTensor::uninitialised(device, dtype, &[rows, width])?;
            let weight = norm.weight().clone().into_device()?;
            let (hidden, weight, gate) = (hidden.buffer(), weight.buffer(), gate.buffer());
            let norm = RmsNormShape { rows, width, epsilon: norm.epsilon() };
            rms_norm_router(device, hidden, weight, normed.buffer(), gate, output, norm, shape, dtype)?;
            normed
        } else {
            let normed = norm.forward_on(hidden, dtype)?;
            router(device, normed.buffer(), gate.buffer(), output, rows, width, shape, dtype)?;
            normed
        };
        if let Some(capacity) = policy.capacity {
            // Who comes first is decided in order: on the processor.
            let mut routing = Routing {
                experts: device.read(&chosen, 0, rows * k)?,
                weights: device.read(&weights, 0, rows * k)?,
                k,
            };
            limit(
                &mut routing,
                &device.read(&logits, 0, rows * self.num_experts)?,
                self.num_experts,
                capacity,
            );
            device.write(&chosen, 0, &routing.experts)?;
            device.write(&weights, 0, &routing.weights)?;
        }
        let shape = ExpertsShape {
            tokens: rows,
            hidden: width,
            intermediate: self.intermediate_size,
            experts_per_token: k,
        };
        let bytes = match &self.experts {
            Experts::Apart(_) => 0,
            Experts::Stacked(experts) => experts.scratch_bytes(rows, k),
            Experts::Quantized(experts) => experts.scratch_bytes(shape),
        };
        let scratch = device.allocate(bytes)?;
        let (x, hidden, scratch) = (normed.buffer(), hidden.buffer(), &scratch);
        let buffers = ExpertsBuffers { x, experts: &chosen, weights: &weights, hidden, scratch };
        match &self.experts {
            Experts::Stacked(experts) => experts_on_device(device, experts, buffers, shape),
            Experts::Quantized(experts) => quantized_experts(device, experts, buffers, shape),
            Experts::Apart(_) => Err(Error::Shape {
                operation: "experts",
                expected: format!("weights on {device}"),
                found: "weights on the processor".to_owned(),
            }),
        }
    }

    /// `(tokens, hidden_size) -> (tokens, hidden_size)`: the weighted sum of each token's experts.
    fn mix(&self, hidden: &Tensor, routing: &Routing, experts_of_layer: &[SwiGlu]) -> Result<Tensor> {
        let mut weights = Vec::with_capacity(experts_of_layer.len());
        for SwiGlu { gate, up, down } in experts_of_layer {
            weights.push(ExpertWeights { gate: gate.on_host()?, up: up.on_host()?, down: down.on_host()? });
        }
        let (tokens, _) = hidden.rows_and_width();
        let shape = ExpertsShape {
            tokens,
            hidden: self.hidden_size,
            intermediate: self.intermediate_size,
            experts_per_token: routing.k,
        };
        let mut output = vec![0.0; tokens * self.hidden_size];
        let slots = ExpertRouting { experts: &routing.experts, weights: &routing.weights };
        experts(&hidden.as_slice()?, slots, &weights, &mut output, shape);
        Tensor::from_vec(output, hidden.shape())
    }
}

/// Takes experts to a GPU one after the other: no second copy is made on the host.
fn stacked(
    device: &Device,
    num_experts: usize,
    hidden_size: usize,
    intermediate_size: usize,
    expert: impl Fn(usize) -> Result<SwiGlu>,
) -> Result<Experts> {
    let mut stacks: Option<(Matrix, Matrix)> = None;
    for index in 0..num_experts {
        let SwiGlu { gate, up, down } = expert(index)?;
        let (gate_up_stack, down_stack) = match &stacks {
            Some(stacks) => stacks,
            None => {
                let gate_up = gate.room_on(device, 2 * num_experts * intermediate_size)?;
                stacks.insert((gate_up, down.room_on(device, num_experts * hidden_size)?))
            }
        };
        // (num_experts, 2, intermediate_size, hidden_size)
        gate.write_to(gate_up_stack, 2 * index * intermediate_size)?;
        up.write_to(gate_up_stack, (2 * index + 1) * intermediate_size)?;
        // (num_experts, hidden_size, intermediate_size)
        down.write_to(down_stack, index * hidden_size)?;
    }
    let mismatch = |found: &str| Error::Shape {
        operation: "experts",
        expected: "at least one, all in one format".to_owned(),
        found: found.to_owned(),
    };
    let (gate_up, down) = stacks.ok_or_else(|| mismatch("none"))?;
    if (gate_up.dtype(), gate_up.quantization()) != (down.dtype(), down.quantization()) {
        return Err(mismatch("two formats"));
    }
    let dtype = gate_up.dtype();
    match (gate_up.on_device(), down.on_device(), gate_up.blocks_on_device(), down.blocks_on_device()) {
        (Some(gate_up), Some(down), ..) => {
            let (gate_up, down) = (gate_up.buffer().clone(), down.buffer().clone());
            let (hidden, intermediate) = (hidden_size, intermediate_size);
            Ok(Experts::Stacked(DeviceExperts::new(
                device,
                gate_up,
                down,
                num_experts,
                hidden,
                intermediate,
                dtype,
            )?))
        }
        (.., Some(gate_up), Some(down)) => Ok(Experts::Quantized(QuantizedExperts {
            format: gate_up.format(),
            gate_up: gate_up.buffer().clone(),
            down: down.buffer().clone(),
            experts: num_experts,
            dtype,
        })),
        _ => Err(mismatch("weights on the processor")),
    }
}
