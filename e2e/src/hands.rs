//! What a person does to a window from outside of its page.

use x11rb::connection::Connection;
use x11rb::protocol::xproto::{
    Atom, AtomEnum, CLIENT_MESSAGE_EVENT, ClientMessageEvent, ConnectionExt, EventMask, InputFocus, KEY_PRESS_EVENT,
    KEY_RELEASE_EVENT, MapState, Window,
};
use x11rb::protocol::xtest::ConnectionExt as _;
use x11rb::rust_connection::RustConnection;

/// A key, by the number that X gives it on a PC's keyboard.
#[derive(Clone, Copy, Debug)]
#[allow(missing_docs, reason = "they are called what is written on them")]
pub enum Key {
    Escape = 9,
    Enter = 36,
}

/// A connection to a screen.
pub(crate) struct Hands {
    x: RustConnection,
    root: Window,
}

impl Hands {
    /// # Panics
    /// If the screen is gone.
    pub(crate) fn at(display: &str) -> Self {
        let (x, screen) = RustConnection::connect(Some(display)).expect("the screen is there");
        let root = x.setup().roots[screen].root;
        Self { x, root }
    }

    /// Presses the button that closes a window, on each of this process's.
    ///
    /// # Panics
    /// If the screen is gone.
    pub(crate) fn close_all_of(&self, process: u32) {
        let (protocols, delete) = (self.atom("WM_PROTOCOLS"), self.atom("WM_DELETE_WINDOW"));
        for window in self.windows_of(process) {
            let event = ClientMessageEvent {
                response_type: CLIENT_MESSAGE_EVENT,
                format: 32,
                sequence: 0,
                window,
                type_: protocols,
                data: [delete, 0, 0, 0, 0].into(),
            };
            self.x.send_event(false, window, EventMask::NO_EVENT, event).expect("the screen is there");
        }
        self.x.flush().expect("the screen is there");
    }

    /// The windows of this process that can be seen.
    fn windows_of(&self, process: u32) -> Vec<Window> {
        let owner = self.atom("_NET_WM_PID");
        let of_process = |window: &Window| {
            let asked = self.x.get_property(false, *window, owner, AtomEnum::CARDINAL, 0, 1);
            let told = asked.ok().and_then(|cookie| cookie.reply().ok());
            let shown = self.x.get_window_attributes(*window).ok().and_then(|cookie| cookie.reply().ok());
            told.and_then(|property| property.value32()?.next()) == Some(process)
                && shown.is_some_and(|shown| shown.map_state == MapState::VIEWABLE)
        };
        let tree = self.x.query_tree(self.root).expect("the screen is there").reply().expect("the screen has windows");
        tree.children.into_iter().filter(of_process).collect()
    }

    /// The window of this process and title, if it can be seen.
    ///
    /// # Panics
    /// If the screen is gone.
    pub(crate) fn window_of(&self, process: u32, title: &str) -> Option<Window> {
        let name = self.atom("_NET_WM_NAME");
        let is_called = |window: &Window| {
            let asked = self.x.get_property(false, *window, name, AtomEnum::ANY, 0, 256);
            let told = asked.ok().and_then(|cookie| cookie.reply().ok());
            told.is_some_and(|property| property.value == title.as_bytes())
        };
        self.windows_of(process).into_iter().find(is_called)
    }

    /// Presses a key in a window.
    ///
    /// # Panics
    /// If the screen or the window is gone.
    pub(crate) fn press(&self, window: Window, key: Key) {
        let focused = self.x.set_input_focus(InputFocus::PARENT, window, x11rb::CURRENT_TIME);
        focused.expect("the screen is there").check().expect("the window takes keys");
        for event in [KEY_PRESS_EVENT, KEY_RELEASE_EVENT] {
            let sent = self.x.xtest_fake_input(event, key as u8, x11rb::CURRENT_TIME, self.root, 0, 0, 0);
            sent.expect("the screen is there").check().expect("the screen has a keyboard");
        }
    }

    fn atom(&self, name: &str) -> Atom {
        let asked = self.x.intern_atom(false, name.as_bytes()).expect("the screen is there");
        asked.reply().expect("a screen knows names").atom
    }
}
