/** What goes over the wire, written by web/write_answers.py from metapo.viewing.answers. */

export interface ActAnswer {
  act: number;
  told: string;
  when: string;
}

export type ActKind = "approve" | "reject" | "edit" | "pin" | "unpin" | "evolve";

export interface ActRequest {
  kind: ActKind;
  who: string;
  why: string;
  cluster?: string | null;
  about?: string | null;
  criterion?: string | null;
  rubric?: RubricInput | null;
  text?: string | null;
}

export interface ActShown {
  id: number;
  kind: ActKind;
  who: string;
  why: string;
  done_at: string;
  cluster: string | null;
  about: string | null;
  criterion: string;
  told: string;
  outcomes: Outcome[];
}

export interface ActsAnswer {
  acts: ActShown[];
  waiting: WaitingShown[];
}

export interface AnchorShown {
  number: number;
  source: string;
  cluster: string;
  step: number;
  prompt: string;
  better: string;
  worse: string;
  reference: string | null;
  why: string;
  who: string;
  added_at: string;
}

export interface AnchorsAnswer {
  anchors: AnchorShown[];
  next: string | null;
  n_by_source: Record<string, number>;
}

export interface AnchorsRequest {
  who: string;
  why: string;
  pairs: AskedPair[];
}

export interface AskedPair {
  prompt: string | Record<string, unknown>[];
  better: string | Record<string, unknown>[];
  worse: string | Record<string, unknown>[];
  why?: string;
  reference?: string | null;
}

export interface Attempt {
  number: number;
  resumed_step: number;
  started_at: string;
}

export interface Bridged {
  step: number;
  n: number;
  mean_before: number;
  mean_after: number;
  spread_before: number;
  spread_after: number;
}

export interface CallShown {
  number: number;
  role: string;
  model: string;
  endpoint: string;
  reply: string;
  error: string;
  finish_reason: string;
  prompt_tokens: number | null;
  completion_tokens: number | null;
  cached_tokens: number | null;
  cost_usd: number | null;
  latency_s: number;
}

export interface CriteriaAnswer {
  cluster: string;
  split: Split;
  n_steps: number;
  steps: number[];
  criteria: CriterionHistory[];
}

export interface CriterionInput {
  id: string;
  name: string;
  instruction?: string;
  levels: LevelInput[];
  weight?: number;
  polarity?: Polarity;
  pinned?: boolean;
  evidence?: boolean;
}

export interface Criterion {
  id: string;
  name: string;
  instruction: string;
  levels: Level[];
  weight: number;
  polarity: Polarity;
  pinned: boolean;
  evidence: boolean;
}

export interface CriterionDiff {
  id: string;
  name: string;
  change: string;
  fields: FieldDiff[];
}

export interface CriterionHistory {
  id: string;
  name: string;
  min_points: number;
  max_points: number;
  weight: number;
  pinned: boolean;
  n: (number | null)[];
  mean: (number | null)[];
  variance: (number | null)[];
  passed: (number | null)[];
  correlation: (number | null)[];
  unscored: (number | null)[];
}

export interface DiffAnswer {
  from_id: string;
  to_id: string;
  criteria: CriterionDiff[];
}

export interface ExchangeAnswer {
  entry: ExchangeEntry;
  prompt: string;
  reply: string;
}

export interface ExchangeEntry {
  position: number;
  stage: string;
  sample: number | null;
  model: string;
  error: string;
  snippet: string;
  prompt_chars: number;
  reply_chars: number;
  prompt_tokens: number | null;
  completion_tokens: number | null;
  cost_usd: number | null;
  latency_s: number;
}

export interface FieldDiff {
  field: string;
  points: number | null;
  change: string;
  words: Word[];
}

export interface Finding {
  check: string;
  passed: boolean;
  detail: string;
  parent: number | null;
  child: number | null;
  n_pairs: number;
}

export interface FlagShown {
  detector: string;
  detail: string;
}

export interface LevelInput {
  points: number;
  description: string;
  example?: string;
}

export interface Level {
  points: number;
  description: string;
  example: string;
}

export interface Mark {
  step: number;
  kind: MarkKind;
  text: string;
  cluster: string;
  revision: string | null;
}

export type MarkKind = "adopted" | "rolled_back" | "person" | "waiting" | "rejected" | "onset" | "gold_onset" | "resumed";

export interface MetaStepAnswer {
  entry: MetaStepEntry;
  samples: SampleShown[];
  exchanges: ExchangeEntry[];
  proposals: ProposalShown[];
  evidence: Record<string, number>;
}

export interface MetaStepEntry {
  cluster: string;
  step: number;
  adopt_step: number;
  why: string;
  decision: string | null;
  reason: string;
  parent: string | null;
  child: string | null;
  n_samples: number;
  n_exchanges: number;
  n_proposals: number;
  tokens: number;
  cost_usd: number | null;
  seconds: number | null;
}

export interface MetaStepsAnswer {
  meta_steps: MetaStepEntry[];
}

export interface MetricsAnswer {
  generation: string;
  newest: number;
  is_whole: boolean;
  series: Series[];
  names: Record<string, string[]>;
  marks: Mark[];
}

export interface Node {
  id: string;
  parents: string[];
  status: Status;
  reason: string;
  proposer: string;
  step: number;
  in_force_from: number | null;
  in_force_to: number | null;
  scale: Scale | null;
  meta_step: number | null;
  is_return: boolean;
  why: string;
  verdict: string;
  findings: Finding[];
  n_criteria: number;
  n_words: number;
  min_points: number;
  max_points: number;
}

export interface OpinionShown {
  role: string;
  judge: string;
  criterion: string;
  points: number | null;
  value: number | null;
  rationale: string;
  missing: string | null;
  detail: string;
}

export interface Outcome {
  cluster: string;
  step: number;
  outcome: string;
}

export interface PairOfSides {
  prompt_id: string;
  prompt_snippet: string;
  left: RolloutEntry[];
  right: RolloutEntry[];
}

export interface PairsAnswer {
  left: string;
  right: string;
  pairs: PairOfSides[];
  bridge: Bridged | null;
  next: string | null;
}

export interface PinnedAnswer {
  pinned: number;
  known: number;
}

export type Polarity = "positive" | "negative";

export interface PromptAnswer {
  prompt_id: string;
  prompt: string;
  reference: string | null;
  rollouts: RolloutEntry[];
  next: string | null;
}

export interface ProposalShown {
  number: number;
  revision: string;
  accepted: boolean;
  reason: string;
  repairs: number | null;
  findings: Finding[];
}

export interface Revision {
  rubric: Rubric;
  parents: string[];
  reason: string;
  proposer: string;
  step: number;
}

export interface RevisionShown {
  id: string;
  revision: Revision;
  yaml: string;
}

export interface RolloutAnswer {
  entry: RolloutEntry;
  prompt: string;
  completion: string;
  reference: string | null;
  verdicts: VerdictShown[];
  opinions: OpinionShown[];
  calls: CallShown[];
  flags: FlagShown[];
  group: RolloutEntry[];
  read_by: number[];
  n_reused: number;
  n_left_out: number;
}

export interface RolloutEntry {
  id: string;
  prompt_id: string;
  step: number;
  position: number;
  split: Split;
  cluster: string;
  revision: string;
  reward: number | null;
  normalized: number | null;
  raw: number | null;
  monitor: number | null;
  screened: string;
  flags: string[];
  n_unscored: number;
  prompt_snippet: string;
  snippet: string;
}

export interface RolloutsAnswer {
  rollouts: RolloutEntry[];
  next: string | null;
  n_looked_at: number;
}

export interface RubricInput {
  criteria: CriterionInput[];
}

export interface Rubric {
  criteria: Criterion[];
}

export interface RunAnswer {
  entry: RunEntry;
  settings: Record<string, unknown>;
  stopped: string | null;
  attempts: Attempt[];
  answered_by: Record<string, string>;
  clusters: string[];
  criteria: string[];
  flags: string[];
  n_rollouts: Record<string, number>;
  spent: SpentOn[];
}

export interface RunEntry {
  run: string;
  place: string;
  standing: Standing;
  task: string;
  step: number;
  steps: number | null;
  reward: number | null;
  n_revisions: number;
  n_waiting: number;
  written_at: string | null;
  problem: string;
}

export interface RunsAnswer {
  version: string;
  runs: RunEntry[];
  can_act: boolean;
  who: string;
}

export interface SampleShown {
  rollout: RolloutEntry;
  why: string;
  flags: string[];
}

export interface Scale {
  factor: number;
  shift: number;
}

export interface Series {
  kind: string;
  step: number[];
  columns: Record<string, (number | null)[]>;
}

export interface Span {
  start: number;
  end: number;
}

export interface SpentOn {
  role: string;
  model: string;
  n_calls: number;
  n_failed: number;
  prompt_tokens: number;
  completion_tokens: number;
  cost_usd: number;
  latency_s: number;
}

export type Split = "train" | "eval";

export type Standing = "training" | "finished" | "stopped" | "quiet";

export type Status = "in_force" | "earlier" | "rolled_back" | "coming" | "waiting" | "rejected" | "decided" | "aside";

export interface TreeAnswer {
  cluster: string;
  nodes: Node[];
}

export interface VerdictShown {
  criterion: string;
  name: string;
  weight: number;
  min_points: number | null;
  max_points: number | null;
  points: number | null;
  value: number | null;
  uncertainty: number | null;
  label_mass: number | null;
  level: string;
  rationale: string;
  quote: string;
  spans: Span[];
  missing: string | null;
  detail: string;
}

export interface WaitingShown {
  cluster: string;
  node: Node;
  if_approved: string;
  can_be_approved: boolean;
}

export interface Word {
  change: string;
  text: string;
}
