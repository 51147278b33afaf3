//! Generates Rust from every `.proto` file under `/proto`, with protox: no `protoc` is needed.

use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};

use prost_types::FileDescriptorSet;

/// Packages that `lib.rs` includes even while no file declares them.
const PACKAGES: [&str; 2] = ["muster.v1", "muster.internal.v1"];

fn main() -> Result<(), Box<dyn Error>> {
    let root = PathBuf::from(std::env::var("CARGO_MANIFEST_DIR")?).join("../../proto");
    let out = PathBuf::from(std::env::var("OUT_DIR")?);
    println!("cargo:rerun-if-changed={}", root.display());

    let mut files = Vec::new();
    collect(&root, &mut files)?;
    files.sort();
    let descriptors = protox::compile(&files, [&root])?;
    write_descriptors(&descriptors, &out.join("descriptors.bin"))?;
    // Ordered maps: equal messages must have equal bytes.
    tonic_prost_build::configure()
        .bytes(".")
        .btree_map(".")
        .build_transport(true)
        .compile_fds(descriptors)?;

    for package in PACKAGES {
        let generated = out.join(format!("{package}.rs"));
        if !files.iter().any(|file| declares(file, package)) {
            fs::write(generated, "")?;
        }
    }
    Ok(())
}

/// All `.proto` files below `dir`; each directory and file is watched for changes.
fn collect(dir: &Path, files: &mut Vec<PathBuf>) -> Result<(), Box<dyn Error>> {
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        if path.is_dir() {
            println!("cargo:rerun-if-changed={}", path.display());
            collect(&path, files)?;
        } else if path.extension().is_some_and(|ext| ext == "proto") {
            println!("cargo:rerun-if-changed={}", path.display());
            files.push(path);
        }
    }
    Ok(())
}

fn declares(file: &Path, package: &str) -> bool {
    let statement = format!("package {package};");
    fs::read_to_string(file).is_ok_and(|text| text.lines().any(|line| line.trim() == statement))
}

/// The descriptor set as bytes, for reflection and for tests that walk all calls.
fn write_descriptors(set: &FileDescriptorSet, path: &Path) -> Result<(), Box<dyn Error>> {
    fs::write(path, prost::Message::encode_to_vec(set))?;
    Ok(())
}
