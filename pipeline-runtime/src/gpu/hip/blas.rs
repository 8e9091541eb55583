//! Dense matrix products by hipBLASLt.

use std::collections::HashMap;
use std::ffi::{c_int, c_void};
use std::ptr;

use pipeline_schema::DType;

use super::library::{Algorithm, Blas, Heuristic, Pointer};
use super::{Cause, Fault, Handle, Product};
use crate::gpu::driver::ProductShape;

// Of `hipblaslt.h` and `hipblas-common.h`: the same in ROCm 6 and 7.
const STATUS_SUCCESS: c_int = 0;
const STATUS_ALLOC_FAILED: c_int = 2;
const STATUS_NOT_SUPPORTED: c_int = 7;
const COMPUTE_32F: c_int = 2;
const OP_T: c_int = 112;
const R_32F: c_int = 0;
const R_16F: c_int = 2;
const R_16BF: c_int = 14;
const MATMUL_DESC_TRANSA: c_int = 0;
const MATMUL_PREF_MAX_WORKSPACE_BYTES: c_int = 1;

/// hipBLASLt with the plans made so far.
#[derive(Debug)]
pub(super) struct Products {
    blas: &'static Blas,
    handle: Handle,
    plans: HashMap<ProductShape, Plan>,
}

/// How a product of one shape is done. What is in it is destroyed with it.
#[derive(Debug)]
struct Plan {
    description: Owned,
    weight: Owned,
    x: Owned,
    y: Owned,
    algorithm: Algorithm,
    workspace_bytes: usize,
}

/// Something of hipBLASLt with the call that destroys it.
#[derive(Debug)]
struct Owned(Handle, unsafe extern "C" fn(Pointer) -> c_int);

impl Drop for Owned {
    fn drop(&mut self) {
        // SAFETY: made by the library, destroyed once.
        unsafe { (self.1)(self.0.0) };
    }
}

fn check(operation: &'static str, status: c_int) -> Result<(), Fault> {
    let (message, cause) = match status {
        STATUS_SUCCESS => return Ok(()),
        STATUS_ALLOC_FAILED => ("out of memory".to_owned(), Cause::OutOfMemory),
        STATUS_NOT_SUPPORTED => ("not supported for this chip or shape".to_owned(), Cause::Other),
        other => (format!("status {other}"), Cause::Other),
    };
    Err(Fault { operation, message, cause })
}

fn data_type(dtype: DType) -> c_int {
    match dtype {
        DType::F32 => R_32F,
        DType::BF16 => R_16BF,
        DType::F16 => R_16F,
    }
}

impl Products {
    pub(super) fn new(blas: &'static Blas) -> Result<Products, Fault> {
        let mut handle = ptr::null_mut();
        // SAFETY: writes one handle.
        check("hipblasLtCreate", unsafe { (blas.hipblasLtCreate)(&mut handle) })?;
        Ok(Products { blas, handle: Handle(handle), plans: HashMap::new() })
    }

    /// Name and version of the library.
    pub(super) fn version(&self) -> String {
        let mut version = 0;
        // SAFETY: writes one number.
        unsafe { (self.blas.hipblasLtGetVersion)(self.handle.0, &mut version) };
        format!("hipBLASLt {}.{}", version / 100_000, version % 100_000 / 100)
    }

    /// hipBLASLt's matrices are column-major: a row-major `y (rows, out)` is its `(out, rows)`.
    fn plan(&self, shape: ProductShape, workspace_bytes: usize) -> Result<Plan, Fault> {
        let blas = self.blas;
        let ProductShape { rows, in_features, out_features, input, output, .. } = shape;
        let layout = |dtype, rows: usize, columns: usize| {
            let mut layout = ptr::null_mut();
            // SAFETY: writes one handle.
            let made = unsafe {
                let (type_, leading) = (data_type(dtype), rows as i64);
                (blas.hipblasLtMatrixLayoutCreate)(&mut layout, type_, rows as u64, columns as u64, leading)
            };
            check("hipblasLtMatrixLayoutCreate", made)?;
            Ok(Owned(Handle(layout), blas.hipblasLtMatrixLayoutDestroy))
        };
        let weight = layout(input, in_features, out_features)?;
        let x = layout(input, in_features, rows)?;
        let y = layout(output, out_features, rows)?;

        let (mut description, mut preference) = (ptr::null_mut(), ptr::null_mut());
        // SAFETY: each call writes one handle.
        let description = unsafe {
            let made = (blas.hipblasLtMatmulDescCreate)(&mut description, COMPUTE_32F, R_32F);
            check("hipblasLtMatmulDescCreate", made)?;
            Owned(Handle(description), blas.hipblasLtMatmulDescDestroy)
        };
        // SAFETY: as above.
        let preference = unsafe {
            let made = (blas.hipblasLtMatmulPreferenceCreate)(&mut preference);
            check("hipblasLtMatmulPreferenceCreate", made)?;
            Owned(Handle(preference), blas.hipblasLtMatmulPreferenceDestroy)
        };
        let mut found = Heuristic::EMPTY;
        let mut count = 0;
        // SAFETY: everything was made above; attributes are read before the calls are back.
        unsafe {
            let set = (blas.hipblasLtMatmulDescSetAttribute)(
                description.0.0,
                MATMUL_DESC_TRANSA,
                ptr::from_ref(&OP_T).cast(),
                size_of::<c_int>(),
            );
            check("hipblasLtMatmulDescSetAttribute", set)?;
            let set = (blas.hipblasLtMatmulPreferenceSetAttribute)(
                preference.0.0,
                MATMUL_PREF_MAX_WORKSPACE_BYTES,
                ptr::from_ref(&workspace_bytes).cast(),
                size_of::<usize>(),
            );
            check("hipblasLtMatmulPreferenceSetAttribute", set)?;
            let asked = (blas.hipblasLtMatmulAlgoGetHeuristic)(
                self.handle.0,
                description.0.0,
                weight.0.0,
                x.0.0,
                y.0.0,
                y.0.0,
                preference.0.0,
                1,
                &mut found,
                &mut count,
            );
            check("hipblasLtMatmulAlgoGetHeuristic", asked)?;
        }
        let state = if count == 0 { STATUS_NOT_SUPPORTED } else { found.state };
        check("hipblasLtMatmulAlgoGetHeuristic", state)?;
        let Heuristic { algorithm, workspace_bytes, .. } = found;
        Ok(Plan { description, weight, x, y, algorithm, workspace_bytes })
    }

    /// # Safety
    /// See [`Driver`](crate::gpu::Driver).
    pub(super) unsafe fn multiply(&mut self, product: &Product, stream: Pointer) -> Result<(), Fault> {
        let shape = product.shape;
        if !self.plans.contains_key(&shape) {
            let plan = self.plan(shape, product.workspace_bytes)?;
            self.plans.insert(shape, plan);
        }
        let plan = &self.plans[&shape];
        let (one, beta) = (1.0f32, if shape.accumulate { 1.0f32 } else { 0.0 });
        let y = product.y as Pointer;
        // SAFETY: by contract; the plan is of these sizes.
        let status = unsafe {
            (self.blas.hipblasLtMatmul)(
                self.handle.0,
                plan.description.0.0,
                ptr::from_ref(&one).cast(),
                product.weight as *const c_void,
                plan.weight.0.0,
                product.x as *const c_void,
                plan.x.0.0,
                ptr::from_ref(&beta).cast(),
                y,
                plan.y.0.0,
                y,
                plan.y.0.0,
                &plan.algorithm,
                product.workspace as Pointer,
                plan.workspace_bytes,
                stream,
            )
        };
        check("hipblasLtMatmul", status)
    }
}

impl Drop for Products {
    fn drop(&mut self) {
        self.plans.clear();
        // SAFETY: made by `new`, destroyed once.
        unsafe { (self.blas.hipblasLtDestroy)(self.handle.0) };
    }
}
