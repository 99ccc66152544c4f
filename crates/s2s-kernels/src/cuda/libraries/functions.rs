//! The functions of the libraries of CUDA that candle and cudarc call. Each jumps to an address in a table:
//!
//! ```text
//! cuInit:   jump to *entry            entry: a function that returns CUDA_ERROR_NOT_INITIALIZED;
//!                                            after `load`, cuInit of libcuda.so.1
//! ```
//!
//! A function that the library of the machine lacks keeps its first entry. The lists have every function that
//! cudarc 0.19 calls for some version of CUDA, and those that the object files of candle-kernels 0.11 need. If one is
//! missing here, the linker takes it from the library, as it would without this module, and the program does not start
//! without that file. A test of s2s-model, which `cargo xtask ci --gpu` runs, fails then.

#![expect(
    unsafe_code,
    reason = "the functions of the libraries, and their addresses"
)]

use std::arch::global_asm;
use std::error::Error as _;
use std::ffi::c_void;
use std::mem;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicPtr, Ordering};

use libloading::Library;

use super::MissingLibrary;

/// The entries of a library.
type Entries = [AtomicPtr<c_void>];

/// See [`load_libraries`](super::load_libraries).
pub(super) fn load() -> Result<(), MissingLibrary> {
    static LOADED: OnceLock<Result<(), MissingLibrary>> = OnceLock::new();
    let load_all = || {
        // SAFETY: each table has an entry for each name, and stays where it is.
        let [cuda, cublas, curand]: [&Entries; 3] = unsafe { [&CUDA, &CUBLAS, &CURAND] };
        open("libcuda.so.1", CUDA_NAMES, cuda)?;
        let cublas_file = concat!("libcublas.so.", env!("S2S_CUDA_MAJOR"));
        open(cublas_file, CUBLAS_NAMES, cublas)?;
        open("libcurand.so.10", CURAND_NAMES, curand) // in CUDA 11, 12 and 13
    };
    LOADED.get_or_init(load_all).clone()
}

/// candle's own kernels register with libcudart before `main`, so it is loaded before them, where it exists.
extern "C" fn load_runtime() {
    let file = concat!("libcudart.so.", env!("S2S_CUDA_MAJOR"));
    // SAFETY: as in `load`.
    let [functions, texts]: [&Entries; 2] = unsafe { [&CUDART, &CUDART_TEXTS] };
    // Nothing else uses it, so it may be missing.
    let _ = open(file, CUDART_NAMES, functions);
    let _ = open(file, CUDART_TEXT_NAMES, texts);
}

// Functions without a number run later.
// SAFETY: the section has addresses of functions without arguments.
#[used]
#[unsafe(link_section = ".init_array.00099")]
static LOAD_RUNTIME: extern "C" fn() = load_runtime;

/// Loads a library for good, and sets the entries of the functions that it has.
fn open(file: &'static str, names: &[&str], entries: &Entries) -> Result<(), MissingLibrary> {
    // SAFETY: the libraries of CUDA may be loaded at any time; they load each other in this way.
    let library = unsafe { Library::new(file) }.map_err(|error| MissingLibrary {
        file,
        is_driver: file.starts_with("libcuda."),
        reason: error.source().unwrap_or(&error).to_string(),
    })?;
    for (name, entry) in names.iter().zip(entries) {
        // SAFETY: this reads the address; cudarc declares the function with its type.
        if let Ok(function) = unsafe { library.get::<*mut c_void>(*name) } {
            entry.store(*function, Ordering::Relaxed);
        }
    }
    mem::forget(library); // the entries point into it
    Ok(())
}

/// Defines functions that jump to the entries of a table, and a list of their names. Each entry is at first a function
/// that returns `$code`.
///
/// The functions are hidden: they are for this program, and no library takes one of them for its own.
macro_rules! library {
    ($names:ident, $entries:ident = $table:literal, returning $code:literal: $($name:literal)*) => {
        const $names: &[&str] = &[$($name),*];

        unsafe extern "C" {
            #[link_name = $table]
            static $entries: [AtomicPtr<c_void>; $names.len()];
        }

        global_asm!(
            ".pushsection .text.s2s_cuda, \"ax\", @progbits",
            concat!($table, "_unloaded: movl $", $code, ", %eax"),
            "ret",
            ".pushsection .data.s2s_cuda, \"aw\", @progbits",
            ".balign 8",
            concat!(".hidden ", $table),
            concat!(".globl ", $table),
            concat!($table, ":"),
            ".popsection",
            $(
                concat!(".hidden ", $name),
                concat!(".globl ", $name),
                concat!(".type ", $name, ", @function"),
                concat!($name, ": jmp *2f(%rip)"),
                ".pushsection .data.s2s_cuda, \"aw\", @progbits",
                concat!("2: .quad ", $table, "_unloaded"),
                ".popsection",
            )*
            ".popsection",
            options(att_syntax)
        );
    };
}

// 3 is cudaErrorInitializationError.
library!(CUDART_NAMES, CUDART = "s2s_cudart", returning 3:
    "__cudaGetKernel" "__cudaInitModule" "__cudaLaunchKernel" "__cudaLaunchKernel_ptsz" "__cudaPopCallConfiguration"
    "__cudaPushCallConfiguration" "__cudaRegisterFatBinary" "__cudaRegisterFatBinaryEnd" "__cudaRegisterFunction"
    "__cudaRegisterVar" "__cudaUnregisterFatBinary" "cudaDeviceGetAttribute" "cudaFree" "cudaFreeAsync"
    "cudaFreeAsync_ptsz" "cudaFuncGetAttributes" "cudaFuncSetAttribute" "cudaGetDevice" "cudaGetDeviceCount"
    "cudaGetLastError" "cudaLaunchKernel" "cudaLaunchKernel_ptsz" "cudaMalloc" "cudaMallocAsync"
    "cudaMallocAsync_ptsz" "cudaMemsetAsync" "cudaMemsetAsync_ptsz"
    "cudaOccupancyMaxActiveBlocksPerMultiprocessorWithFlags" "cudaPeekAtLastError" "cudaSetDevice"
    "cudaStreamSynchronize" "cudaStreamSynchronize_ptsz"
);

// These return text: a null pointer.
library!(CUDART_TEXT_NAMES, CUDART_TEXTS = "s2s_cudart_texts", returning 0:
    "cudaGetErrorName" "cudaGetErrorString"
);

// 3 is CUDA_ERROR_NOT_INITIALIZED.
library!(CUDA_NAMES, CUDA = "s2s_cuda_driver", returning 3:
    "cuCtxCreate_v3" "cuCtxCreate_v4" "cuCtxDestroy_v2" "cuCtxGetCacheConfig" "cuCtxGetCurrent" "cuCtxGetLimit"
    "cuCtxGetStreamPriorityRange" "cuCtxSetCacheConfig" "cuCtxSetCurrent" "cuCtxSetFlags" "cuCtxSetLimit"
    "cuCtxSynchronize" "cuDestroyExternalMemory" "cuDeviceGet" "cuDeviceGetAttribute" "cuDeviceGetCount"
    "cuDeviceGetDefaultMemPool" "cuDeviceGetMemPool" "cuDeviceGetName" "cuDeviceGetUuid" "cuDeviceGetUuid_v2"
    "cuDevicePrimaryCtxRelease_v2" "cuDevicePrimaryCtxRetain" "cuDeviceSetMemPool" "cuDeviceTotalMem_v2"
    "cuDriverGetVersion" "cuEventCreate" "cuEventDestroy_v2" "cuEventElapsedTime" "cuEventElapsedTime_v2"
    "cuEventQuery" "cuEventRecord" "cuEventSynchronize" "cuExternalMemoryGetMappedBuffer" "cuFuncGetAttribute"
    "cuFuncSetAttribute" "cuFuncSetCacheConfig" "cuGetErrorName" "cuGetErrorString" "cuGraphClone" "cuGraphDestroy"
    "cuGraphExecDestroy" "cuGraphInstantiateWithFlags" "cuGraphLaunch" "cuGraphUpload" "cuImportExternalMemory"
    "cuInit" "cuLaunchCooperativeKernel" "cuLaunchHostFunc" "cuLaunchKernel" "cuMemAdvise_v2" "cuMemAllocAsync"
    "cuMemAllocFromPoolAsync" "cuMemAllocManaged" "cuMemAlloc_v2" "cuMemFreeAsync" "cuMemFreeHost" "cuMemFree_v2"
    "cuMemGetInfo_v2" "cuMemHostAlloc" "cuMemPoolCreate" "cuMemPoolDestroy" "cuMemPoolGetAttribute"
    "cuMemPoolSetAttribute" "cuMemPoolTrimTo" "cuMemPrefetchAsync_v2" "cuMemcpyDtoDAsync_v2" "cuMemcpyDtoD_v2"
    "cuMemcpyDtoHAsync_v2" "cuMemcpyDtoH_v2" "cuMemcpyHtoDAsync_v2" "cuMemcpyHtoD_v2" "cuMemcpyPeerAsync"
    "cuMemsetD8Async" "cuMemsetD8_v2" "cuModuleGetFunction" "cuModuleGetGlobal_v2" "cuModuleLoad" "cuModuleLoadData"
    "cuModuleUnload" "cuOccupancyAvailableDynamicSMemPerBlock" "cuOccupancyMaxActiveBlocksPerMultiprocessor"
    "cuOccupancyMaxActiveBlocksPerMultiprocessorWithFlags" "cuOccupancyMaxActiveClusters"
    "cuOccupancyMaxPotentialBlockSize" "cuOccupancyMaxPotentialBlockSizeWithFlags"
    "cuOccupancyMaxPotentialClusterSize" "cuProfilerStart" "cuProfilerStop" "cuStreamAttachMemAsync"
    "cuStreamBeginCapture_v2" "cuStreamCreate" "cuStreamCreateWithPriority" "cuStreamDestroy_v2"
    "cuStreamEndCapture" "cuStreamIsCapturing" "cuStreamSynchronize" "cuStreamWaitEvent"
);

// 1 is CUBLAS_STATUS_NOT_INITIALIZED.
library!(CUBLAS_NAMES, CUBLAS = "s2s_cublas", returning 1:
    "cublasCreate_v2" "cublasDasum_v2" "cublasDestroy_v2" "cublasDgemmStridedBatched" "cublasDgemm_v2"
    "cublasDgemv_v2" "cublasGemmEx" "cublasGemmGroupedBatchedEx" "cublasGemmStridedBatchedEx"
    "cublasGetPointerMode_v2" "cublasSasum_v2" "cublasSetPointerMode_v2" "cublasSetStream_v2"
    "cublasSgemmStridedBatched" "cublasSgemm_v2" "cublasSgemv_v2"
);

// 101 is CURAND_STATUS_NOT_INITIALIZED.
library!(CURAND_NAMES, CURAND = "s2s_curand", returning 101:
    "curandCreateGenerator" "curandDestroyGenerator" "curandGenerate" "curandGenerateLogNormal"
    "curandGenerateLogNormalDouble" "curandGenerateLongLong" "curandGenerateNormal" "curandGenerateNormalDouble"
    "curandGeneratePoisson" "curandGenerateUniform" "curandGenerateUniformDouble" "curandSetGeneratorOffset"
    "curandSetPseudoRandomGeneratorSeed" "curandSetStream"
);
