//! Matrix products by cuBLASLt.

use std::collections::HashMap;
use std::ffi::c_void;
use std::ptr;

use cudarc::cublaslt::{result as blas, sys as cublas};
use cudarc::driver::sys as cuda;
use pipeline_schema::DType;

use crate::gpu::driver::{Cause, Fault, Handle, Product, ProductShape};

/// `cublasOperation_t`, which the bindings leave out.
const CUBLAS_OP_T: i32 = 1;

/// cuBLASLt with the plans made so far.
#[derive(Debug)]
pub(super) struct Products {
    handle: Handle,
    plans: HashMap<ProductShape, Plan>,
}

#[derive(Debug)]
struct Plan {
    description: Handle,
    weight: Handle,
    x: Handle,
    y: Handle,
    algorithm: Box<cublas::cublasLtMatmulAlgo_t>,
    workspace_bytes: usize,
}

fn blas_fault(operation: &'static str) -> impl Fn(blas::CublasError) -> Fault {
    move |error| {
        let cause = match error.0 {
            cublas::cublasStatus_t::CUBLAS_STATUS_ALLOC_FAILED => Cause::OutOfMemory,
            _ => Cause::Other,
        };
        Fault { operation, message: format!("{:?}", error.0), cause }
    }
}

fn data_type(dtype: DType) -> cublas::cudaDataType {
    match dtype {
        DType::F32 => cublas::cudaDataType::CUDA_R_32F,
        DType::BF16 => cublas::cudaDataType::CUDA_R_16BF,
        DType::F16 => cublas::cudaDataType::CUDA_R_16F,
    }
}

impl Products {
    pub(super) fn new() -> Result<Products, Fault> {
        let handle = blas::create_handle().map_err(blas_fault("cublasLtCreate"))?;
        Ok(Products { handle: Handle(handle.cast()), plans: HashMap::new() })
    }

    /// cuBLASLt's matrices are column-major: a row-major `y (rows, out)` is its `(out, rows)`.
    fn plan(&self, shape: ProductShape, workspace_bytes: usize) -> Result<Plan, Fault> {
        use cublas::cublasLtMatmulDescAttributes_t as Attribute;
        let ProductShape { rows, in_features, out_features, input, output, .. } = shape;
        let single = cublas::cudaDataType::CUDA_R_32F;
        let layout = |dtype, rows: usize, columns: usize| {
            blas::create_matrix_layout(data_type(dtype), rows as u64, columns as u64, rows as i64)
                .map_err(blas_fault("cublasLtMatrixLayoutCreate"))
        };
        let compute = cublas::cublasComputeType_t::CUBLAS_COMPUTE_32F;
        let description =
            blas::create_matmul_desc(compute, single).map_err(blas_fault("cublasLtMatmulDescCreate"))?;
        let transposed = CUBLAS_OP_T;
        let weight = layout(input, in_features, out_features)?;
        let x = layout(input, in_features, rows)?;
        let y = layout(output, out_features, rows)?;
        let preference = blas::create_matmul_pref().map_err(blas_fault("cublasLtMatmulPreferenceCreate"))?;
        // SAFETY: everything was made above; attributes are read before the calls are back.
        let found = unsafe {
            blas::set_matmul_desc_attribute(
                description,
                Attribute::CUBLASLT_MATMUL_DESC_TRANSA,
                ptr::from_ref(&transposed).cast(),
                size_of::<i32>(),
            )
            .map_err(blas_fault("cublasLtMatmulDescSetAttribute"))?;
            blas::set_matmul_pref_attribute(
                preference,
                cublas::cublasLtMatmulPreferenceAttributes_t::CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES,
                ptr::from_ref(&workspace_bytes).cast(),
                size_of::<usize>(),
            )
            .map_err(blas_fault("cublasLtMatmulPreferenceSetAttribute"))?;
            let handle = self.handle.0.cast();
            let found = blas::get_matmul_algo_heuristic(handle, description, weight, x, y, y, preference);
            let _ = blas::destroy_matmul_pref(preference);
            found.map_err(blas_fault("cublasLtMatmulAlgoGetHeuristic"))?
        };
        Ok(Plan {
            description: Handle(description.cast()),
            weight: Handle(weight.cast()),
            x: Handle(x.cast()),
            y: Handle(y.cast()),
            algorithm: Box::new(found.algo),
            workspace_bytes: found.workspaceSize,
        })
    }

    /// # Safety
    /// See [`Driver`](crate::gpu::Driver).
    pub(super) unsafe fn multiply(&mut self, product: &Product, stream: cuda::CUstream) -> Result<(), Fault> {
        let shape = product.shape;
        if !self.plans.contains_key(&shape) {
            let plan = self.plan(shape, product.workspace_bytes)?;
            self.plans.insert(shape, plan);
        }
        let plan = &self.plans[&shape];
        let (one, beta) = (1.0f32, if shape.accumulate { 1.0f32 } else { 0.0 });
        let y = product.y as *mut c_void;
        // SAFETY: by contract; the plan is of these sizes.
        unsafe {
            blas::matmul(
                self.handle.0.cast(),
                plan.description.0.cast(),
                ptr::from_ref(&one).cast(),
                ptr::from_ref(&beta).cast(),
                product.weight as *const c_void,
                plan.weight.0.cast(),
                product.x as *const c_void,
                plan.x.0.cast(),
                y,
                plan.y.0.cast(),
                y,
                plan.y.0.cast(),
                &*plan.algorithm,
                product.workspace as *mut c_void,
                plan.workspace_bytes,
                stream.cast(),
            )
        }
        .map_err(blas_fault("cublasLtMatmul"))
    }

    /// # Safety
    /// Nothing runs any more.
    pub(super) unsafe fn destroy(&mut self) {
        for (_, plan) in self.plans.drain() {
            // SAFETY: made by `plan`, destroyed once.
            unsafe {
                let _ = blas::destroy_matmul_desc(plan.description.0.cast());
                for layout in [plan.weight, plan.x, plan.y] {
                    let _ = blas::destroy_matrix_layout(layout.0.cast());
                }
            }
        }
        // SAFETY: made by `new`, destroyed once.
        unsafe {
            let _ = blas::destroy_handle(self.handle.0.cast());
        }
    }
}
