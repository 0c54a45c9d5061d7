//! Dormouse holds the sockets of services that sleep, and starts a service when somebody knocks.

pub mod cli;
pub mod commands;
pub mod config;
pub mod detach;
pub mod limits;
pub mod logging;
pub mod notify;
pub mod open;
pub mod peer;
pub mod plan;
pub mod run;
pub mod seal;
pub mod spawn;
pub mod sys;
pub mod text;
