import "./style/tokens.css";
import "./style/layout.css";
import "./style/parts.css";
import "./style/editor.css";
import "./style/files.css";

import { App } from "./app";

const root = document.querySelector<HTMLElement>("#app");
if (!root) throw new Error("index.html has no place for the app");
new App().start(root);
