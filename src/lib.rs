//! Dormouse holds the sockets of services that sleep, and starts a service when somebody knocks.

pub mod limits;
