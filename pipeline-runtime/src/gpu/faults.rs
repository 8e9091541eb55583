//! What happens when a device refuses, on a stand-in that has memory of the host and runs no kernel: faults that a
//! real device cannot be made to have.

use std::alloc::{Layout, alloc, dealloc};
use std::collections::HashMap;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;
use crate::checkpoint::CheckpointFiles;
use crate::kernels::QuantizedFormat;
use crate::layers::Weights;
use crate::models::mixtral::Mixtral;
use pipeline_schema::models::ModelConfig;

#[derive(Debug)]
pub(crate) struct StandIn {
    chip: Chip,
    room: usize,
    held: Mutex<HashMap<u64, usize>>,
    /// Copies until the device is lost.
    copies_left: AtomicUsize,
    /// Recordings that another thread will disturb.
    disturbances_left: AtomicUsize,
    /// Graphs that were not destroyed.
    graphs: AtomicUsize,
}

impl StandIn {
    /// A device with so many bytes beside the backend's own workspace.
    pub(crate) fn open(room: usize) -> (Device, Arc<StandIn>) {
        let chip = Chip {
            name: "stand-in".to_owned(),
            target: "none".to_owned(),
            multiprocessors: 1,
            warp: 32,
            shared_per_block: 48 << 10,
            l2: 0,
            memory: (room + WORKSPACE) as u64,
            versions: Vec::new(),
        };
        let held = Mutex::default();
        let driver = Arc::new(StandIn {
            chip,
            room: room + WORKSPACE,
            held,
            copies_left: AtomicUsize::new(usize::MAX),
            disturbances_left: AtomicUsize::new(0),
            graphs: AtomicUsize::new(0),
        });
        (Device::over(driver.clone(), 0).expect("the workspace fits"), driver)
    }

    fn held(&self) -> usize {
        self.held.lock().unwrap().values().sum()
    }

    fn layout(bytes: usize) -> Layout {
        Layout::from_size_align(bytes.max(1), 256).expect("no block is that large")
    }

    fn copied(&self) -> Result<(), Fault> {
        match self.copies_left.fetch_sub(1, Ordering::Relaxed) {
            0 => Err(lost()),
            _ => Ok(()),
        }
    }
}

fn lost() -> Fault {
    Fault { operation: "copy", message: "an illegal memory access".to_owned(), cause: Cause::Lost }
}

fn none<T>() -> Result<T, Fault> {
    Err(Fault { operation: "launch", message: "a stand-in runs nothing".to_owned(), cause: Cause::Other })
}

impl Driver for StandIn {
    fn hardware(&self) -> Hardware {
        Hardware::Cuda
    }
    fn chip(&self) -> &Chip {
        &self.chip
    }
    fn memory(&self) -> Result<(u64, u64), Fault> {
        Ok(((self.room - self.held()) as u64, self.room as u64))
    }
    fn allocate(&self, bytes: usize) -> Result<u64, Fault> {
        if bytes > self.room - self.held() {
            let message = "out of memory".to_owned();
            return Err(Fault { operation: "allocate", message, cause: Cause::OutOfMemory });
        }
        // SAFETY: the layout is not empty.
        let address = unsafe { alloc(StandIn::layout(bytes)) } as u64;
        self.held.lock().unwrap().insert(address, bytes);
        Ok(address)
    }
    unsafe fn free(&self, address: u64) -> Result<(), Fault> {
        let bytes = self.held.lock().unwrap().remove(&address).expect("what is freed was allocated");
        // SAFETY: addresses are those of the allocations above, and the callers keep the contract.
        unsafe { dealloc(address as *mut u8, StandIn::layout(bytes)) };
        Ok(())
    }
    fn allocate_host(&self, _: usize) -> Result<*mut u8, Fault> {
        none()
    }
    unsafe fn free_host(&self, _: *mut u8) -> Result<(), Fault> {
        none()
    }
    unsafe fn copy_in(&self, to: u64, from: *const u8, bytes: usize) -> Result<(), Fault> {
        self.copied()?;
        // SAFETY: addresses are those of the allocations above, and the callers keep the contract.
        unsafe { std::ptr::copy_nonoverlapping(from, to as *mut u8, bytes) };
        Ok(())
    }
    unsafe fn copy_out(&self, to: *mut u8, from: u64, bytes: usize) -> Result<(), Fault> {
        self.copied()?;
        // SAFETY: addresses are those of the allocations above, and the callers keep the contract.
        unsafe { std::ptr::copy_nonoverlapping(from as *const u8, to, bytes) };
        Ok(())
    }
    unsafe fn copy(&self, to: u64, from: u64, bytes: usize) -> Result<(), Fault> {
        self.copied()?;
        // SAFETY: addresses are those of the allocations above, and the callers keep the contract.
        unsafe { std::ptr::copy(from as *const u8, to as *mut u8, bytes) };
        Ok(())
    }
    unsafe fn fill(&self, to: u64, byte: u8, bytes: usize) -> Result<(), Fault> {
        // SAFETY: addresses are those of the allocations above, and the callers keep the contract.
        unsafe { std::ptr::write_bytes(to as *mut u8, byte, bytes) };
        Ok(())
    }
    fn synchronize(&self) -> Result<(), Fault> {
        Ok(())
    }
    fn create_event(&self) -> Result<Handle, Fault> {
        none()
    }
    unsafe fn record_event(&self, _: Handle) -> Result<(), Fault> {
        none()
    }
    unsafe fn wait_event(&self, _: Handle) -> Result<(), Fault> {
        none()
    }
    unsafe fn elapsed(&self, _: Handle, _: Handle) -> Result<f32, Fault> {
        none()
    }
    unsafe fn destroy_event(&self, _: Handle) {}
    fn compile(&self, name: &str, _: &str) -> Result<Vec<u8>, CompileFault> {
        Err(CompileFault::Source(format!("{name}(7): error: this compiler takes nothing")))
    }
    fn compiler(&self) -> String {
        format!("stand-in {}", std::process::id())
    }
    fn load_module(&self, _: &[u8]) -> Result<Handle, Fault> {
        none()
    }
    unsafe fn unload_module(&self, _: Handle) {}
    unsafe fn function(&self, _: Handle, _: &str) -> Result<Handle, Fault> {
        none()
    }
    unsafe fn allow_shared(&self, _: Handle, _: u32) -> Result<(), Fault> {
        none()
    }
    unsafe fn launch(
        &self,
        _: Handle,
        _: driver::LaunchShape,
        _: &mut [*mut std::ffi::c_void],
    ) -> Result<(), Fault> {
        none()
    }
    fn begin_capture(&self) -> Result<(), Fault> {
        Ok(())
    }
    fn end_capture(&self) -> Result<(Handle, usize), Fault> {
        let left = self.disturbances_left.load(Ordering::Relaxed);
        if left > 0 {
            self.disturbances_left.store(left - 1, Ordering::Relaxed);
            let message = "the capture was invalidated".to_owned();
            return Err(Fault { operation: "end a capture", message, cause: Cause::Disturbed });
        }
        self.graphs.fetch_add(1, Ordering::Relaxed);
        Ok((Handle(std::ptr::null_mut()), 3))
    }
    unsafe fn launch_graph(&self, _: Handle) -> Result<(), Fault> {
        none()
    }
    unsafe fn destroy_graph(&self, _: Handle) {
        self.graphs.fetch_sub(1, Ordering::Relaxed);
    }
    unsafe fn matmul(&self, _: &Product) -> Result<(), Fault> {
        none()
    }
}

fn storyteller() -> CheckpointFiles {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    CheckpointFiles::open(&workspace.join("examples/checkpoints/storyteller-moe")).unwrap()
}

fn load(files: &CheckpointFiles, device: &Device) -> Result<Mixtral> {
    load_in(files, device, None)
}

fn load_in(
    files: &CheckpointFiles,
    device: &Device,
    quantization: Option<QuantizedFormat>,
) -> Result<Mixtral> {
    let weights = Weights::new(files, Some(DType::BF16))
        .quantized(quantization)
        .on(&crate::hardware::Device::Gpu(device.clone()))?;
    let ModelConfig::Mixtral(config) = files.facts().model().unwrap() else { panic!("it is a Mixtral") };
    Mixtral::load(&weights, config, files.facts().head().unwrap(), |_, _| {})
}

#[test]
fn memory_that_nobody_uses_is_given_back_before_there_is_none() {
    let (device, driver) = StandIn::open(10_000);
    drop(device.allocate(6_000).unwrap());
    // Of another size, so that the block above does not serve.
    let other = device.allocate(9_000).unwrap();
    let error = device.allocate(6_000).unwrap_err();
    assert!(matches!(error, Error::OutOfMemory { .. }), "{error}");
    let said = error.to_string();
    assert!(said.contains("6144 bytes were asked for, 784 are free") && said.contains("smaller"), "{said}");
    drop((other, device));
    assert_eq!(driver.held(), 0);
}

#[test]
fn weights_without_room_are_refused_before_one_is_read() {
    let (device, driver) = StandIn::open(1 << 20);
    let before = driver.held();
    let error = load(&storyteller(), &device).unwrap_err();
    assert!(matches!(error, Error::OutOfMemory { .. }), "{error}");
    assert!(error.to_string().contains("the weights need 0.01 GB, and 0.00 of 0.03 GB are free"), "{error}");
    assert_eq!(driver.held(), before);
}

#[test]
fn a_device_that_is_lost_while_weights_are_read_gives_memory_back() {
    let (device, driver) = StandIn::open(64 << 20);
    let model = load(&storyteller(), &device).unwrap();
    let whole = driver.held();
    drop(model);
    driver.copies_left.store(20, Ordering::Relaxed);
    let error = load(&storyteller(), &device).unwrap_err();
    assert!(matches!(error, Error::DeviceLost { .. }), "{error}");
    assert!(error.to_string().contains("load the pipeline again"), "{error}");
    driver.copies_left.store(usize::MAX, Ordering::Relaxed);
    // What was read before is free again: the model fits as it did, with no more memory than then.
    let model = load(&storyteller(), &device).unwrap();
    assert_eq!(driver.held(), whole);
    drop((model, device));
    assert_eq!(driver.held(), 0);
}

#[test]
fn what_others_disturb_is_recorded_anew_but_not_for_ever() {
    let (device, driver) = StandIn::open(1 << 20);
    let record = |disturbances, fails_in: usize| {
        driver.disturbances_left.store(disturbances, Ordering::Relaxed);
        let mut runs = 0;
        let recorded = Graph::record(&device, || {
            runs += 1;
            if runs == fails_in { Err(Error::input("refused")) } else { Ok(runs) }
        });
        (recorded.map(|(first, recorded, graph)| (first, recorded, graph.nodes())), runs)
    };
    // One run, then those that are recorded: the last counts.
    assert_eq!(record(0, 0).0.unwrap(), (1, 2, 3));
    assert_eq!(record(3, 0).0.unwrap(), (1, 5, 3));
    // Work fails where a recording is disturbed, too.
    assert_eq!(record(1, 2).0.unwrap(), (1, 3, 3));
    let (error, runs) = record(usize::MAX, 0);
    assert!(error.unwrap_err().to_string().contains("the capture was invalidated"));
    assert!((5..100).contains(&runs), "{runs}");
    let (error, runs) = record(0, 2);
    assert!(error.unwrap_err().to_string().contains("refused") && runs == 2);
    assert_eq!(driver.graphs.load(Ordering::Relaxed), 0);
}

#[test]
fn a_kernel_that_does_not_compile_is_an_error_of_the_call() {
    let (device, driver) = StandIn::open(1 << 20);
    let x = device.zeros(64).unwrap();
    for _ in 0..2 {
        let error = crate::kernels::activation::gpu::silu(&device, &x, 16, DType::F32).unwrap_err();
        let Error::KernelSource { kernel, target, log } = &error else { panic!("{error}") };
        assert_eq!((*kernel, target.as_str()), ("activation", "none"));
        assert!(log.contains("activation(7): error"), "{log}");
    }
    drop((x, device));
    assert_eq!(driver.held(), 0);
}

#[test]
fn quantised_weights_take_as_little_memory_as_their_blocks() {
    let files = storyteller();
    let held = |quantization| {
        let (device, driver) = StandIn::open(64 << 20);
        let before = driver.held();
        let model = load_in(&files, &device, quantization).unwrap();
        let held = driver.held() - before;
        drop((model, device));
        assert_eq!(driver.held(), 0);
        held
    };
    // Maps of attention and of experts, which lie below the layers: neither routers nor norms.
    let maps = files.facts().tensors().iter().filter(|(name, tensor)| {
        name.contains(".layers.") && tensor.shape.len() == 2 && !name.ends_with(".gate.weight")
    });
    let weights: usize = maps.map(|(_, tensor)| tensor.shape.iter().product::<usize>()).sum();
    assert!(weights > 1_000_000);
    let (dense, quantized) = (held(None), held(Some(QuantizedFormat::Q80)));
    let (saved, exact) = (dense - quantized, weights * 2 - QuantizedFormat::Q80.bytes(weights));
    // Four allocations a layer, each of which may be a little longer than its blocks.
    assert!(saved <= exact && exact - saved < 6 * 4 * 256, "{saved} bytes of {exact}");
    // Its rows are no whole blocks of 256: they take those of 32.
    assert_eq!(held(Some(QuantizedFormat::Q4K)), quantized);
}
