//! What a link knows of its own path: delivery rate, round-trip time, pacing.
