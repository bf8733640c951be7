//! A seeded model of one network link: rate, delay, jitter, queue, loss, reordering, duplication.
