/** The part of uPlot 1.6 that the admin uses. */

export default class UPlot {
  constructor(options: object, data: number[][], container: HTMLElement);
  static readonly paths: { bars(options: { size: [number, number] }): object };
  static tzDate(date: Date, zone: string): Date;
  setData(data: number[][]): void;
  setSize(size: { width: number; height: number }): void;
  destroy(): void;
}
