use super::*;
use crate::kernels::matmul::{FEW_ROWS, MatmulEpilogue, MatmulShape, matmul_scalar, matmul_with};
use crate::kernels::testing::{assert_close, random, with_threads};
use crate::kernels::{InstructionSet, MatrixRef};

/// Weights in a format and what they stand for.
fn weights(format: QuantizedFormat, count: usize, seed: u64) -> (Vec<u8>, Vec<f32>) {
    let blocks = quantize(format, &random(count, seed)).unwrap();
    let mut dense = vec![0.0; count];
    dequantize(QuantizedRef::new(format, &blocks), &mut dense);
    (blocks, dense)
}

#[test]
fn names_are_read_back() {
    for format in QuantizedFormat::ALL {
        assert_eq!(format.to_string().parse(), Ok(format));
    }
    assert_eq!("Q4_K".parse(), Ok(QuantizedFormat::Q4K));
    let error = "q5_k".parse::<QuantizedFormat>().unwrap_err();
    assert_eq!(error, "unknown format `q5_k`, expected one of `q4_k`, `q8_0`");
}

#[test]
fn formats_fit_rows_of_whole_blocks() {
    use QuantizedFormat::{Q4K, Q80};
    for (asked, widths, fitting) in [
        (Q4K, &[256, 512][..], Some(Q4K)),
        (Q4K, &[256, 96], Some(Q80)),
        (Q4K, &[256, 40], None),
        (Q80, &[256, 96], Some(Q80)),
        (Q80, &[24], None),
    ] {
        assert_eq!(asked.fitting(widths), fitting, "{asked} {widths:?}");
    }
}

#[test]
fn blocks_stand_for_weights_near_those_that_were_given() {
    // More than a thread's chunk, and no multiple of it.
    let count = (1 << 16) + 5 * 256;
    let given = random(count, 1);
    for (format, step) in [(QuantizedFormat::Q4K, 2.0 / 15.0), (QuantizedFormat::Q80, 1.0 / 127.0)] {
        let (blocks, dense) = weights(format, count, 1);
        assert_eq!(blocks.len(), format.bytes(count));
        // Half a step, and what rounding the scales adds.
        for (index, (found, given)) in dense.iter().zip(&given).enumerate() {
            assert!((found - given).abs() < 0.75 * step, "{format} {index}: {found}, given {given}");
        }
        let all = QuantizedRef::new(format, &blocks);
        for index in [0, 1, 31, 32, 33, 100, 255, 256, count - 1] {
            assert_eq!(all.get(index), dense[index], "{format} {index}");
        }
        let ggml = match format {
            QuantizedFormat::Q4K => candle_core::quantized::GgmlDType::Q4K,
            QuantizedFormat::Q80 => candle_core::quantized::GgmlDType::Q8_0,
        };
        let cpu = &candle_core::Device::Cpu;
        let storage = candle_core::quantized::QStorage::from_data((&blocks).into(), cpu, ggml).unwrap();
        let tensor = candle_core::quantized::QTensor::new(storage, count).unwrap();
        let reference: Vec<f32> = tensor.dequantize(cpu).unwrap().to_vec1().unwrap();
        assert_close(&dense, &reference, 1e-6, format.name());
    }
}

#[test]
fn packing_moves_scales_behind_quants() {
    let blocks: Vec<u8> = (0..68).collect();
    let packed = QuantizedFormat::Q80.pack(&blocks);
    let expected = [&blocks[2..34], &blocks[36..68], &blocks[..2], &blocks[34..36]].concat();
    assert_eq!(packed, expected);
    let blocks: Vec<u8> = (0..288).map(|byte| (byte % 251) as u8).collect();
    let packed = QuantizedFormat::Q4K.pack(&blocks);
    let expected = [&blocks[16..144], &blocks[160..288], &blocks[..16], &blocks[144..160]].concat();
    assert_eq!(packed, expected);
}

#[test]
fn products_agree_with_the_scalar_twin() {
    for format in QuantizedFormat::ALL {
        for rows in [1, 2, 3, 4, 5, 7, 8, 9, FEW_ROWS, FEW_ROWS + 1, 37] {
            for blocks in [1, 2, 3, 5, 8] {
                for out_features in [1, 3, 50, 97] {
                    check(format, MatmulShape { rows, in_features: blocks * format.block(), out_features });
                }
            }
        }
        check(format, MatmulShape { rows: 3, in_features: 2048, out_features: 700 });
    }
}

fn check(format: QuantizedFormat, shape: MatmulShape) {
    let MatmulShape { rows, in_features, out_features } = shape;
    let x = random(rows * in_features, 1);
    let (blocks, dense) = weights(format, out_features * in_features, 2);
    let weight = MatrixRef::Quantized(QuantizedRef::new(format, &blocks));
    let (bias, before) = (random(out_features, 3), random(rows * out_features, 4));
    let epilogue =
        MatmulEpilogue { bias: (rows % 2 == 1).then_some(bias.as_slice()), accumulate: rows % 3 == 1 };
    let twin = |x: &[f32], weight: MatrixRef<'_>| {
        let mut expected = before.clone();
        matmul_scalar(x, weight, epilogue, &mut expected, shape);
        expected
    };
    let few = rows <= FEW_ROWS;
    let expected = twin(&if few { quantized_rows(&x) } else { x.clone() }, weight);
    let unquantized = twin(&x, MatrixRef::F32(&dense));
    for isa in InstructionSet::available() {
        let mut y = before.clone();
        matmul_with(isa, &x, weight, epilogue, &mut y, shape);
        let context = format!("{isa:?} {format} {shape:?} {epilogue:?}");
        // Many rows round weights and activations to 8 bits of mantissa there.
        let rounded = !few && isa == InstructionSet::Avx512Bf16;
        assert_close(&y, &expected, if rounded { 1e-2 } else { 1e-5 }, &context);
        // Rounding x to steps of 1/127 moves each number by a 440th at random, and weights are 0.58 on average: six
        // times what that does to a sum.
        let bound = 6.0 / 440.0 * 0.58 * (in_features as f32).sqrt();
        for (y, unquantized) in y.iter().zip(&unquantized) {
            assert!((y - unquantized).abs() < bound, "{context}: {y}, without rounding x {unquantized}");
        }
    }
}

#[test]
fn the_number_of_threads_changes_no_bit() {
    for format in QuantizedFormat::ALL {
        for rows in [1, 3, 40] {
            let shape = MatmulShape { rows, in_features: 1024, out_features: 1501 };
            let x = random(rows * 1024, 1);
            let (blocks, _) = weights(format, 1501 * 1024, 2);
            let weight = MatrixRef::Quantized(QuantizedRef::new(format, &blocks));
            let [one, two] = [1, 2].map(|threads| {
                let mut y = vec![0.0; rows * 1501];
                with_threads(threads, || crate::kernels::matmul::matmul(&x, weight, &mut y, shape));
                y
            });
            assert!(one == two, "{format} {shape:?}");
        }
    }
}

#[test]
fn extreme_activations_are_fine() {
    let shape = MatmulShape { rows: 1, in_features: 256, out_features: 3 };
    for format in QuantizedFormat::ALL {
        let (blocks, _) = weights(format, 3 * 256, 2);
        let weight = MatrixRef::Quantized(QuantizedRef::new(format, &blocks));
        for isa in InstructionSet::available() {
            let product = |x: &[f32]| {
                let mut y = [7.0; 3];
                matmul_with(isa, x, weight, MatmulEpilogue::default(), &mut y, shape);
                y
            };
            assert_eq!(product(&[0.0; 256]), [0.0; 3]);
            assert!(product(&[1e30; 256]).iter().all(|y| y.is_finite()));
            for wrong in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
                let mut x = [1.0; 256];
                x[77] = wrong;
                assert!(product(&x).iter().all(|y| !y.is_finite()), "{format} {isa:?} {wrong}");
            }
        }
    }
}

#[test]
#[should_panic(expected = "rows of 48 are no whole blocks of q8_0")]
fn rows_of_parts_of_blocks_are_refused() {
    let blocks = vec![0; 3 * 34];
    let weight = MatrixRef::Quantized(QuantizedRef::new(QuantizedFormat::Q80, &blocks));
    let shape = MatmulShape { rows: 1, in_features: 48, out_features: 2 };
    crate::kernels::matmul::matmul(&[0.0; 48], weight, &mut [0.0; 2], shape);
}
