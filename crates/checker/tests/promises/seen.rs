//! What was seen from outside.
