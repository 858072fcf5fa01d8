/** What a machine gets, in terms that every boot server has. */
export type ServedPlan =
  | { readonly kind: 'san' }
  /** Files of the host, served over HTTP. */
  | {
      readonly kind: 'kernel';
      readonly kernel: string;
      readonly initrd: readonly string[];
      readonly cmdline: string;
    }
  | { readonly kind: 'iso'; readonly file: string }
  /** A floppy image in memory, beside the drives (BIOS). */
  | { readonly kind: 'floppy'; readonly file: string }
  /** An iPXE script of the test's own. */
  | { readonly kind: 'script'; readonly text: string };

/** One machine as a boot server is told about it. */
export type ServedMachine = {
  readonly name: string;
  readonly mac: string;
  /** Disk images; the n-th is BIOS drive 0x80+n. */
  readonly drives?: readonly string[];
  readonly plan?: ServedPlan;
  readonly chap?: { readonly user: string; readonly secret: string };
};

/** How the server hands out addresses. */
export type DhcpRole = 'server' | 'proxy';

/** A boot server under test, running in a lab. */
export interface BootServer {
  /** Makes the machine known, with its drives and what it boots. */
  addMachine(machine: ServedMachine): Promise<void>;
  /** The URL by which iPXE reaches a machine's drive. */
  targetUrl(machine: string, drive: number): string;
  /**
   * Waits until the server has seen that stage of the machine's boot. Servers without a story
   * return.
   */
  waitStage(mac: string, stage: string): Promise<void>;
  /** The geometry that the server says iPXE will guess for a disk; undefined when it says none. */
  predictGeometry(image: string): Promise<readonly number[] | undefined>;
  /** Kills the server without a word (SIGKILL) and starts it again on the same state. */
  crash(): Promise<void>;
  /** All that the server said, for the text of a failure. */
  output(): string;
  stop(): Promise<void>;
}
