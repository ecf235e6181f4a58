//! Label a recording with one ONNX file: cargo run -- MODEL.onnx RECORDING.wav
//!
//! The recording is 16 kHz mono with 16 bits and the usual header of 44 bytes.

use ort::{inputs, session::Session, value::TensorRef};
use std::{env, error::Error, fs};

fn main() -> Result<(), Box<dyn Error>> {
    let [model, recording] = [1, 2].map(|index| env::args().nth(index).expect("two names"));
    let bytes = fs::read(recording)?;
    let samples: Vec<f32> = bytes[44..]
        .chunks_exact(2)
        .map(|pair| f32::from(i16::from_le_bytes([pair[0], pair[1]])) / 32768.0)
        .collect();

    let mut session = Session::builder()?.commit_from_file(model)?;
    let named = session.metadata()?.custom("voxmood.labels").expect("a model of voxmood");
    let labels: Vec<String> = serde_json::from_str(&named)?;

    let lengths = [samples.len() as i64];
    let outputs = session.run(inputs! {
        "waveform" => TensorRef::from_array_view(([1, samples.len()], samples.as_slice()))?,
        "lengths" => TensorRef::from_array_view(([1], lengths.as_slice()))?,
    })?;
    let (_, probabilities) = outputs["probabilities"].try_extract_tensor::<f32>()?;
    for (label, probability) in labels.iter().zip(probabilities) {
        println!("{label} {probability:.4}");
    }
    Ok(())
}
