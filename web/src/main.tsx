import { render } from "preact";
import "uplot/dist/uPlot.min.css";
import { App } from "./app";
import { readReport, takeToken } from "./source";
import "./style.css";
import { applyTheme } from "./theme";

await readReport();
takeToken();
applyTheme();
const root = document.getElementById("app");
if (root) render(<App />, root);
