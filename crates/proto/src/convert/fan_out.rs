//! What array tasks go through.

use muster_core::spec::template::{self, Part};
use muster_core::spec::{Axis, FanOut, Items};

use super::error::DecodeError;
use super::read::{Within, name, required, strings, texts};
use crate::v1::{self, fan_out_spec::Kind};

pub(super) fn fan_out_to_proto(it: &FanOut) -> v1::FanOutSpec {
    let axis =
        |axis: &Axis| v1::MatrixAxis { name: axis.name.to_string(), values: strings(&axis.values) };
    let kind = match it {
        FanOut::Matrix(axes) => {
            Kind::Matrix(v1::MatrixSpec { axes: axes.iter().map(axis).collect() })
        }
        FanOut::Items(items) => Kind::Items(items_to_proto(items)),
        FanOut::Reference(found) => Kind::Reference(found.to_string()),
    };
    v1::FanOutSpec { kind: Some(kind) }
}

pub(super) fn fan_out_from_proto(it: v1::FanOutSpec) -> Result<FanOut, DecodeError> {
    Ok(match required("kind", it.kind)? {
        Kind::Matrix(matrix) => {
            let axes = matrix.axes.into_iter().enumerate();
            let axes = axes.map(|(at, axis)| axis_from_proto(axis).within_element("axes", at));
            FanOut::Matrix(axes.collect::<Result<_, _>>()?)
        }
        Kind::Items(items) => FanOut::Items(items_from_proto(items)),
        Kind::Reference(text) => match &template::parse(&format!("${{{{{text}}}}}")).as_deref() {
            Ok([Part::Reference(found)]) => FanOut::Reference(found.clone()),
            Ok(_) | Err(_) => return Err(DecodeError::invalid("reference", "is not one")),
        },
    })
}

fn axis_from_proto(axis: v1::MatrixAxis) -> Result<Axis, DecodeError> {
    Ok(Axis { name: name("name", &axis.name)?, values: texts(axis.values) })
}

pub(super) fn items_to_proto(items: &Items) -> v1::ItemList {
    v1::ItemList { values: items.iter().map(str::to_owned).collect() }
}

pub(super) fn items_from_proto(items: v1::ItemList) -> Items {
    items.values.into_iter().collect()
}
