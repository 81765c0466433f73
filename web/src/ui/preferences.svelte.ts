// What a person chose for this browser: language and light or dark. Kept in localStorage, where the browser allows it.
import { getLocale, locales, overwriteGetLocale, setLocale } from "../i18n/runtime.js";
import { regional } from "./format.ts";

export type Language = (typeof locales)[number];
export type Theme = "system" | "light" | "dark";

export const themes: readonly Theme[] = ["system", "light", "dark"];
export const languages: readonly Language[] = locales;

/** The name of each language in itself. */
export const languageNames: Readonly<Record<Language, string>> = { en: "English", zh: "中文" };

const themeKey = "parley.theme";
const widthKey = "parley.list";

/** Of the list of chats beside the sheet, in px. */
export const listWidth = { least: 260, normal: 312, most: 400 } as const;

class Preferences {
  #language = $state<Language>(getLocale());
  #theme = $state<Theme>(storedTheme());
  #listWidth = $state(storedWidth());

  get language(): Language {
    return this.#language;
  }

  /** The locale for numbers and times. */
  get locale(): string {
    return regional(this.#language, navigator.languages);
  }

  get theme(): Theme {
    return this.#theme;
  }

  setLanguage(language: Language): void {
    this.#language = language;
    document.documentElement.lang = htmlLanguage(language);
    void setLocale(language, { reload: false });
  }

  setTheme(theme: Theme): void {
    this.#theme = theme;
    store(themeKey, theme);
    this.apply();
  }

  get listWidth(): number {
    return this.#listWidth;
  }

  /** Takes the nearest width that the list may have. */
  setListWidth(width: number): void {
    this.#listWidth = Math.round(Math.min(listWidth.most, Math.max(listWidth.least, width)));
    store(widthKey, String(this.#listWidth));
  }

  /** Puts language and theme on the page; called once before anything is drawn. */
  apply(): void {
    const root = document.documentElement;
    root.lang = htmlLanguage(this.#language);
    if (this.#theme === "system") delete root.dataset["theme"];
    else root.dataset["theme"] = this.#theme;
    colourBrowser();
  }
}

export const preferences = new Preferences();
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", colourBrowser);

// Messages read the language through this signal, so a switch redraws them all without loading the page again.
overwriteGetLocale(() => preferences.language);

/** Gives the browser's own bars the colour of the page, as it is now. */
function colourBrowser(): void {
  const colour = getComputedStyle(document.body).backgroundColor;
  document.querySelector<HTMLMetaElement>("meta[name=theme-color]")?.setAttribute("content", colour);
}

function htmlLanguage(language: Language): string {
  return language === "zh" ? "zh-Hans" : language;
}

function storedTheme(): Theme {
  const stored = read(themeKey);
  return themes.find((theme) => theme === stored) ?? "system";
}

function storedWidth(): number {
  const stored = Number(read(widthKey));
  return stored >= listWidth.least && stored <= listWidth.most ? stored : listWidth.normal;
}

function read(key: string): string | null {
  try {
    return localStorage.getItem(key);
  } catch {
    return null;
  }
}

function store(key: string, value: string): void {
  try {
    localStorage.setItem(key, value);
  } catch {
    // A browser that forbids storage forgets the choice with the page.
  }
}
