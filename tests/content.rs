//! What two drafts are compared by.

use dormouse::config::Draft;

/// What a draft says, without the places: all that becomes a plan.
pub fn content(draft: &Draft) -> String {
    let mut out = String::new();
    for service in &draft.services {
        let listens: Vec<_> = service.listens.iter().map(|listen| (listen.kind, &listen.address)).collect();
        out += &format!("{} {listens:?} {:?}\n", service.name, service.settings().collect::<Vec<_>>());
    }
    out
}
