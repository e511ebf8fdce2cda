/** What the gate measured, check by check. */

import type { Finding } from "../answers";
import { number, share, signed, visible, words } from "../text";

export function GateTable({ findings }: { findings: Finding[] }) {
  return (
    <div class="gate">
      <div class="scroll" tabIndex={0} role="region" aria-label="What the gate measured">
        <table>
          <thead>
            <tr>
              <th scope="col">check</th>
              <th scope="col">before</th>
              <th scope="col">after</th>
              <th scope="col">change</th>
              <th scope="col">pairs</th>
              <th scope="col">what it found</th>
            </tr>
          </thead>
          <tbody>
            {findings.map((finding, i) => (
              <tr key={i}>
                <th scope="row">
                  <span class={`outcome ${finding.passed ? "passed" : "failed"}`}>
                    {finding.passed ? "passed" : "failed"}
                  </span>{" "}
                  {visible(words(finding.check))}
                </th>
                <td>{share(finding.parent)}</td>
                <td>{share(finding.child)}</td>
                <td>
                  {finding.parent === null || finding.child === null
                    ? "–"
                    : `${signed(100 * (finding.child - finding.parent))}`}
                </td>
                <td>{finding.n_pairs ? number(finding.n_pairs) : "–"}</td>
                <td class="wide">
                  <bdi>{visible(finding.detail)}</bdi>
                </td>
              </tr>
            ))}
          </tbody>
        </table>
      </div>
    </div>
  );
}
