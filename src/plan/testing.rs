//! Plans for tests, made from directives.

use super::{Plan, PlanTables, ServiceSpec, Span, sockets};
use crate::config::{Fault, Place, ServiceDraft};
use crate::sys::testing::own_umask;

/// Runs `test` with the plan of these services, each a name and directives, and the faults in it. In a thread of its
/// own: a plan is too large for the stack of a test, and namespaces and umask belong to a thread.
pub fn with_plan(services: &[(&str, &[(&str, &str)])], test: impl FnOnce(&Plan, &[Fault]) + Send) {
    let body = || {
        own_umask();
        let plan = Box::leak(Box::new(PlanTables::EMPTY));
        let mut faults = Vec::new();
        for (index, (name, directives)) in services.iter().enumerate() {
            let mut draft = ServiceDraft::new(name);
            for (directive, text) in *directives {
                draft.assign(directive, text, Place::default()).unwrap();
            }
            let mut common = sockets::Common::new(&draft, &mut faults);
            let (first_listener, listeners) =
                sockets::add(&draft, &mut common, u16::try_from(index).unwrap(), plan, &mut faults);
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
    };
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().stack_size(64 << 20).spawn_scoped(scope, body).unwrap();
        if let Err(panic) = thread.join() {
            std::panic::resume_unwind(panic);
        }
    });
}
