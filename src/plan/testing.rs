//! Plans for tests, made from directives.

use super::compile::Context;
use super::work::Work;
use super::{Plan, PlanTables, ServiceSpec, Span, sockets};
use crate::config::{Fault, Place, ServiceDraft};
use crate::logging::Target;
use crate::sys::testing::own_umask;

/// A daemon in the foreground.
pub static CONTEXT: Context =
    Context { log: Target::Stderr, keep_streams: false, fd_names: Vec::new(), parent_death: None };

/// Runs `test` with the plan of these services, each a name and directives, and the faults in it. In a thread of its
/// own: a plan is too large for the stack of a test, and namespaces and umask belong to a thread.
pub fn with_plan(services: &[(&str, &[(&str, &str)])], test: impl FnOnce(&Plan, &[Fault]) + Send) {
    with_tables(|plan| {
        let mut faults = Vec::new();
        for (index, (name, directives)) in services.iter().enumerate() {
            let mut draft = ServiceDraft::new(name);
            for (directive, text) in *directives {
                draft.assign(directive, text, Place::default()).unwrap();
            }
            let mut work = Work::new(&draft, plan, &CONTEXT);
            let mut common = sockets::Common::new(&mut work);
            let (first_listener, listeners) = sockets::add(&mut work, &mut common, u16::try_from(index).unwrap());
            faults.append(&mut work.faults);
            let name_of_fds = draft.text(crate::config::Id::FileDescriptorName).unwrap_or("-");
            let service = ServiceSpec {
                name: plan.arena.store(name.as_bytes()).unwrap(),
                fd_names: plan.arena.store(name_of_fds.as_bytes()).unwrap(),
                first_listener,
                listeners,
                program: Span::default(),
                argv: Span::default(),
                has_instance: false,
                remote: false,
                policy: 0,
                internal: None,
                backend: Span::default(),
                proxy_header: false,
            };
            assert!(plan.services.push(service).is_ok());
        }
        test(&plan.plan(), &faults);
    });
}

/// Runs `test` with an empty plan, in a thread of its own.
pub fn with_tables(test: impl FnOnce(&'static mut PlanTables) + Send) {
    let body = || {
        own_umask();
        test(Box::leak(Box::new(PlanTables::EMPTY)));
    };
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().stack_size(64 << 20).spawn_scoped(scope, body).unwrap();
        if let Err(panic) = thread.join() {
            std::panic::resume_unwind(panic);
        }
    });
}
