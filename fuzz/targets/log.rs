#![no_main]

libfuzzer_sys::fuzz_target!(init: muster_fuzzing::tolerate_refusals(), |data: &[u8]| (muster_fuzzing::LOG.check)(data));
