/** What `polyboot export` was asked for. */
export type ExportRequest = {
  readonly file: string;
  readonly format?: 'raw' | 'qcow2';
  /** What a qcow2 overlay stands on. */
  readonly backing?: string;
  readonly backingFormat?: 'raw' | 'qcow2';
  readonly port: number;
  readonly listen: string;
  readonly iqn?: string;
  readonly readOnly: boolean;
  readonly removable: boolean;
  readonly cdrom: boolean;
  readonly cache: 'writeback' | 'writethrough';
  readonly chapUser?: string;
  readonly chapSecretFile?: string;
  readonly digests: boolean;
  readonly stateFolder?: string;
};

/** What `polyboot install` was asked for. Paths are absolute. */
export type InstallRequest = {
  /** The image's name, or the path of a disk file. */
  readonly name: string;
  /** A file, or what the server says that an image is made of. */
  readonly disk: { readonly path: string } | { readonly source: { readonly kind: string } };
  readonly floppies: readonly string[];
  readonly writableFloppies: boolean;
  readonly cdroms: readonly string[];
  readonly boot: 'a' | 'c' | 'd';
  readonly memoryMib: number;
  readonly cpu?: string;
  readonly firmware: 'bios' | 'uefi';
  readonly vncPort?: number;
  /** Afterwards make the table and boot sectors of a DOS disk fit one geometry. */
  readonly mend: boolean;
  readonly signal: AbortSignal;
};

/** What can be done to a running installation. Paths are absolute. */
export type InstallAction =
  /** `file` "next": the floppy of the list after the one that is in. */
  | { readonly kind: 'swap'; readonly drive: string; readonly file: string }
  | { readonly kind: 'eject'; readonly drive: string }
  | { readonly kind: 'picture'; readonly file: string }
  | { readonly kind: 'text' }
  | { readonly kind: 'type'; readonly keys: string }
  | { readonly kind: 'power-button' }
  | { readonly kind: 'stop' };

/** Commands that are this very process instead of a question to the server; `app` brings them. */
export interface LocalCommands {
  up(request: { readonly config?: string }): Promise<number>;
  demo(request: { readonly firmware: 'bios' | 'uefi' }): Promise<number>;
  doctor(request: { readonly config?: string; readonly json: boolean }): Promise<number>;
  export(request: ExportRequest): Promise<number>;
  install(request: InstallRequest): Promise<number>;
  /** Resolves to what there is to say about it. Without a name: the only one that runs. */
  steerInstall(request: {
    readonly name?: string;
    readonly action: InstallAction;
  }): Promise<string>;
  installs(): Promise<readonly { readonly name: string; readonly pid: number }[]>;
}
