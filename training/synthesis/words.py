"""What the voices say. Meaning does not matter, sounds do: song words, many of them with s, sh and ch."""

from __future__ import annotations

from training.synthesis.sound import Random

ENGLISH = (
    "love baby night heart dream fire rain never always forever tonight away home light dark eyes hands feel "
    "know want need time world sky moon sun stars ocean river road running falling flying calling waiting "
    "breaking holding dancing crying singing you me I we they she he my your our it's don't can't won't I'm "
    "you're gonna wanna let take make give come go stay leave somebody everybody nothing something everything "
    "maybe only lonely crazy beautiful golden broken silver sweet little wild young free oh yeah hey ooh la "
    "na woah ah down up over under through into around again before after when where why how this that and "
    "but so summer winter city street window mirror shadow silence thunder lightning whisper memory yesterday "
    "tomorrow money honey sugar power"
)
SIBILANT = (
    "kiss miss yes sunshine shine wish ashes shadows secrets spaces faces places kisses promises roses voices "
    "whispers stars cities mistakes seasons just trust lost ghost church touch such much change stage strange "
    "crush rush flash crash special ocean station such silence sings saints hush"
)
OTHERS = {
    "es": (
        "amor corazón noche vida quiero siempre nunca bailar cielo fuego tú yo mi alma sol luna contigo ven "
        "aquí más dime por qué olvidar soñar"
    ),
    "it": (
        "amore cuore notte vita sempre mai cielo sole luna con te vieni qui dimmi perché sognare ancora bella "
        "senza mare vento volare"
    ),
    "fr": (
        "amour coeur nuit vie toujours jamais ciel soleil lune avec toi viens ici pourquoi rêver encore belle "
        "sans mer vent danser chanson"
    ),
    "de": (
        "liebe herz nacht leben immer niemals himmel sonne mond mit dir komm hier warum träumen wieder schön "
        "ohne meer wind tanzen schatten"
    ),
    "pt-br": (
        "amor coração noite vida quero sempre nunca dançar céu fogo você eu minha alma sol lua comigo vem "
        "aqui mais saudade"
    ),
    "ja": "あい こころ よる いのち ずっと そら ほし つき きみ ぼく ゆめ うた なみだ かぜ ひかり さくら みらい",
    "cmn": "爱 心 夜 你 我 永远 天空 太阳 月亮 来 这里 为什么 梦 美丽 海 风 跳舞",
    "fi": ("rakkaus sydän yö elämä aina koskaan taivas aurinko kuu kanssani tule tänne miksi uni kaunis meri tuuli"),
    "cs": "láska srdce noc život vždy nikdy nebe slunce měsíc se mnou pojď sem proč snít krásná moře vítr",
    "ru": "любовь сердце ночь жизнь всегда никогда небо солнце луна со мной иди сюда почему мечта море ветер",
    "pl": "miłość serce noc życie zawsze nigdy niebo słońce księżyc ze mną chodź tutaj dlaczego sen morze wiatr",
    "hi": "प्यार दिल रात जीवन हमेशा आसमान सूरज चाँद मेरे साथ आओ यहाँ क्यों सपना सुंदर समुद्र हवा",
    "ca": "amor cor nit vida sempre mai cel sol lluna amb mi vine aquí per què somiar bonica mar vent",
}


def line(random: Random, language: str, count: int) -> str:
    """So many words of a language (`en-us` is English too)."""
    if language not in OTHERS:
        hissing, others = SIBILANT.split(), ENGLISH.split()
        return " ".join(str(random.choice(hissing if hiss else others)) for hiss in random.random(count) < 0.25)
    return " ".join(str(word) for word in random.choice(OTHERS[language].split(), count))
