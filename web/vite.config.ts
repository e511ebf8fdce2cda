import { createHash } from "node:crypto";
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { defineConfig, type Plugin } from "vite";

const OUT = "../src/metapo/ui";
const SETTINGS = ["index.html", "package-lock.json", "package.json", "tsconfig.json", "vite.config.ts"];

/** What a test compares: one digest of everything that the build depends on, and one of each file that it wrote. */
function digests(): Plugin {
  const hash = (data: string | Buffer) => createHash("sha256").update(data).digest("hex");
  return {
    name: "digests",
    closeBundle() {
      const listed = readdirSync("src", { recursive: true, withFileTypes: true }).filter((entry) => entry.isFile());
      const names = [...SETTINGS, ...listed.map((entry) => `${entry.parentPath}/${entry.name}`)].sort();
      const sources = hash(names.map((name) => `${name} ${hash(readFileSync(name))}\n`).join(""));
      const files = readdirSync(OUT).filter((name) => name !== "built.json");
      const built = Object.fromEntries(files.sort().map((name) => [name, hash(readFileSync(`${OUT}/${name}`))]));
      writeFileSync(`${OUT}/built.json`, `${JSON.stringify({ sources, built }, null, 2)}\n`);
    },
  };
}

export default defineConfig({
  base: "./",
  plugins: [digests()],
  build: {
    outDir: OUT,
    emptyOutDir: true,
    target: ["chrome123", "firefox120", "safari17.5"],
    modulePreload: false,
    rolldownOptions: {
      output: { entryFileNames: "app.js", assetFileNames: "app[extname]", codeSplitting: false },
    },
  },
  server: { proxy: { "/v1": "http://127.0.0.1:8001" } },
});
