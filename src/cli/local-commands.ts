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
};

/** Commands that are this very process instead of a question to the server; `app` brings them. */
export interface LocalCommands {
  up(request: { readonly config?: string }): Promise<number>;
  demo(request: { readonly firmware: 'bios' | 'uefi' }): Promise<number>;
  doctor(request: { readonly config?: string; readonly json: boolean }): Promise<number>;
  export(request: ExportRequest): Promise<number>;
}
