mod consent;
mod exit;
mod notes;
mod pages;
mod permissions;
mod plugin;
mod widget;
mod world;
