import type { FullFeature } from './full-feature.ts';
import type { LoginMachine } from './login.ts';
import type { Services } from './services.ts';
import type { Session } from './session.ts';
import type { Target } from './target.ts';

/** Phases of a connection; they only move forward. */
export type Phase =
  | { readonly name: 'login'; readonly machine: LoginMachine; readonly sinceMs: number }
  /** The login is granted and waits until older sessions are fenced. */
  | { readonly name: 'admitting' }
  | {
      readonly name: 'full-feature';
      readonly session: Session;
      readonly feature: FullFeature;
      readonly services: Services;
      readonly target: Target | null;
    }
  | { readonly name: 'closed' };
