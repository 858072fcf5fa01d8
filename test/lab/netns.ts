import type { SpawnOptions } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { Running, run } from './process.ts';

/**
 * A private network for one test: a namespace with a bridge, where servers run, and further
 * namespaces ("hosts") and taps (virtual machines) plugged into the bridge. Nothing in it can reach
 * the machine's own network. Needs root.
 */
export class Lab {
  /** Name of the namespace that holds the bridge. */
  readonly namespace: string;
  /** The bridge's name and its address with prefix, such as `10.77.0.1/24`. */
  readonly bridge = 'br0';
  readonly address: string;
  readonly #hosts: string[] = [];
  readonly #processes: Running[] = [];
  #ports = 0;

  private constructor(namespace: string, address: string) {
    this.namespace = namespace;
    this.address = address;
  }

  /** The bridge's address without the prefix. */
  get ip(): string {
    return this.address.split('/')[0] ?? '';
  }

  static async create(address = '10.77.0.1/24'): Promise<Lab> {
    const lab = new Lab(`pb-${process.pid}-${randomBytes(2).toString('hex')}`, address);
    await run('ip', ['netns', 'add', lab.namespace]);
    await lab.#ip('link', 'set', 'lo', 'up');
    await lab.addBridge(lab.bridge, address);
    return lab;
  }

  /** Adds one more network, a bridge with an address of its own. */
  async addBridge(name: string, address: string): Promise<void> {
    await this.#ip('link', 'add', name, 'type', 'bridge', 'stp_state', '0', 'forward_delay', '0');
    await this.#ip('addr', 'add', address, 'dev', name);
    await this.#ip('link', 'set', name, 'up');
  }

  /** Adds a tap to a bridge, for one virtual machine; returns its name. */
  async addTap(bridge = this.bridge): Promise<string> {
    const name = `tap${this.#ports++}`;
    await this.#ip('tuntap', 'add', name, 'mode', 'tap');
    await this.#ip('link', 'set', name, 'master', bridge, 'up');
    return name;
  }

  /**
   * Adds a host: a namespace of its own whose `eth0` is plugged into the bridge. Without an address
   * the link is up and unconfigured, as a DHCP client finds it.
   */
  async addHost(options: { address?: string; mac?: string } = {}): Promise<LabHost> {
    const port = `p${this.#ports++}`;
    const namespace = `${this.namespace}-${port}`;
    await run('ip', ['netns', 'add', namespace]);
    this.#hosts.push(namespace);
    const mac = options.mac === undefined ? [] : ['address', options.mac];
    await this.#ip(
      'link',
      'add',
      port,
      'type',
      'veth',
      'peer',
      'name',
      'eth0',
      ...mac,
      'netns',
      namespace,
    );
    await this.#ip('link', 'set', port, 'master', this.bridge, 'up');
    const inHost = (...args: string[]): Promise<string> => run('ip', ['-n', namespace, ...args]);
    await inHost('link', 'set', 'lo', 'up');
    await inHost('link', 'set', 'eth0', 'up');
    if (options.address !== undefined) await inHost('addr', 'add', options.address, 'dev', 'eth0');
    return new LabHost(namespace, this.#processes);
  }

  /** Starts a process beside the bridge. It is ended when the lab is. */
  start(command: string, args: readonly string[], options: SpawnOptions = {}): Running {
    return startIn(this.namespace, this.#processes, command, args, options);
  }

  /** Runs a command beside the bridge to its end. */
  run(command: string, args: readonly string[]): Promise<string> {
    return run('ip', ['netns', 'exec', this.namespace, command, ...args]);
  }

  /** Ends every process of the lab, newest first, and removes its namespaces. */
  async close(): Promise<void> {
    for (const p of this.#processes.toReversed()) if (p.running) await p.stop();
    for (const host of this.#hosts) await run('ip', ['netns', 'del', host]);
    await run('ip', ['netns', 'del', this.namespace]);
  }

  #ip(...args: string[]): Promise<string> {
    return run('ip', ['-n', this.namespace, ...args]);
  }
}

/** One more computer on a lab's bridge. */
export class LabHost {
  readonly namespace: string;
  readonly #processes: Running[];

  constructor(namespace: string, processes: Running[]) {
    this.namespace = namespace;
    this.#processes = processes;
  }

  start(command: string, args: readonly string[], options: SpawnOptions = {}): Running {
    return startIn(this.namespace, this.#processes, command, args, options);
  }

  run(command: string, args: readonly string[]): Promise<string> {
    return run('ip', ['netns', 'exec', this.namespace, command, ...args]);
  }
}

function startIn(
  namespace: string,
  processes: Running[],
  command: string,
  args: readonly string[],
  options: SpawnOptions,
): Running {
  const started = new Running('ip', ['netns', 'exec', namespace, command, ...args], options);
  processes.push(started);
  return started;
}
