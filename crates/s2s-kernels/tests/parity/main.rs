//! Every fused operator against its reference: values and every gradient.

mod decoder;
mod examples;
mod layers;
mod operators;
mod support;
