//! Who hears what of a decision.

use std::sync::Arc;

use sync_types::GroupId;

use super::groups::Groups;
use super::{Event, Inbox};
use crate::mailbox::Notice;

/// Events and for whom they are, in the order in which they are put.
pub(super) type Told = Vec<(Arc<Inbox>, Event)>;

/// Turns a decision's notices into events for the sessions that are attached now. To be called right after the decision,
/// before the next one of its group: a batch holds many, and with a later one's state a newcomer would be told to look
/// before its Welcome, and a device that attaches behind this decision would hear of it before it hears that it is attached.
/// What such a device is told at first has all that was decided before.
///
/// A Welcome goes before the view that lets a newcomer see, and a narrower view before what it hides.
pub(super) fn events(groups: &Groups, group: GroupId, notices: Vec<Notice>) -> Told {
    let mut told = Told::new();
    let Some(state) = groups.state(group).filter(|_| !notices.is_empty()) else { return told };
    for notice in &notices {
        if let Notice::WelcomeReady { device } = notice
            && let Some(inbox) = groups.inbox(group, *device)
        {
            told.push((inbox.clone(), Event::WelcomeReady));
        }
    }
    let views = |n: &Notice| matches!(n, Notice::Confirmed { .. } | Notice::Removed { .. } | Notice::ViewsChanged);
    if notices.iter().any(views) {
        let views = groups.attached(group).map(|(device, inbox)| (inbox.clone(), Event::View(state.view(device))));
        told.extend(views);
    }
    for notice in notices {
        match notice {
            Notice::NewEntries(new) => {
                told.extend(groups.attached(group).map(|(_, inbox)| (inbox.clone(), Event::Newest(new))));
            }
            Notice::Confirmed { epoch, cursor } => {
                let event = || Event::Confirmed { epoch, cursor };
                told.extend(groups.attached(group).map(|(_, inbox)| (inbox.clone(), event())));
            }
            Notice::Receipt { from, to, statement } => {
                let inbox = groups.inbox(group, to);
                told.extend(inbox.map(|inbox| (inbox.clone(), Event::Receipt { from, statement })));
            }
            Notice::Presence { from, envelope } => {
                let others = groups.attached(group).filter(|(device, _)| *device != from && state.is_member(*device));
                told.extend(others.map(|(_, inbox)| (inbox.clone(), Event::Presence(envelope.clone()))));
            }
            Notice::Renew { device } => {
                told.extend(groups.inbox(group, device).map(|inbox| (inbox.clone(), Event::Renew)));
            }
            Notice::WelcomeReady { .. } | Notice::Removed { .. } | Notice::ViewsChanged => {}
        }
    }
    told
}
