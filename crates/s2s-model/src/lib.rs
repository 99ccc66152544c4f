//! A sequence-to-sequence model with attention on candle: encoder, bridge, attention, decoder, decoding.
