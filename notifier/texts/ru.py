"""Russian."""

from typing import Final

from notifier.notices import TroubleKind
from notifier.texts.language import Language, Plural


def plural(count: int) -> Plural:
    """Return the plural form of a number: 1 час, 2 часа, 5 часов, 11 часов, 21 час."""
    if count % 10 == 1 and count % 100 != 11:
        return Plural.ONE
    if count % 10 in {2, 3, 4} and count % 100 not in {12, 13, 14}:
        return Plural.FEW
    return Plural.MANY


LANGUAGE: Final = Language(
    plural=plural,
    units={
        "day": {Plural.ONE: "день", Plural.FEW: "дня", Plural.MANY: "дней"},
        "hour": {Plural.ONE: "час", Plural.FEW: "часа", Plural.MANY: "часов"},
        "minute": {Plural.ONE: "минута", Plural.FEW: "минуты", Plural.MANY: "минут"},
        "second": {Plural.ONE: "секунда", Plural.FEW: "секунды", Plural.MANY: "секунд"},
        "notice": {Plural.ONE: "уведомление", Plural.FEW: "уведомления", Plural.MANY: "уведомлений"},
    },
    titles={
        "worker_offline": "{worker} не отвечает",
        "worker_online": "{worker} снова работает",
        "hashrate_low": "{worker}: хешрейт упал",
        "account_hashrate_low": "Хешрейт упал",
        "rejects_high": "{worker}: много отклонённых шар",
        "block_found": "Найден блок {height}",
        "block_confirmed": "Блок {height} созрел",
        "block_orphaned": "Блок {height} потерян",
        "credit": "{amount} за блок {height}",
        "payout_sent": "Отправлено {amount}",
        "payout_confirmed": "Получено {amount}",
        "payout_given_up": "Выплата {amount} отменена",
        "payout_in_review": "Выплата {amount} ждёт оператора",
        "trouble": "{trouble}",
        "test": "Проверка",
    },
    bodies={
        "worker_offline": "Последняя шара: {last}; обычный промежуток между шарами: {interval}.\nАккаунт {account}",
        "worker_online": "Простой: {duration}.\nАккаунт {account}",
        "hashrate_low": "{hashrate} за последний час, это {percent} от обычных {usual}.\nАккаунт {account}",
        "account_hashrate_low": "{hashrate} за последний час, это {percent} от обычных {usual}.\nАккаунт {account}",
        "rejects_high": "Не засчитано {percent} шар за последний час, чаще всего потому, что {reason}.\n"
        "Аккаунт {account}",
        "block_found": "{coin}, {time}. Награда {amount} — после созревания.\n{hash}",
        "block_confirmed": "{coin}, {time}. Награду {amount} теперь можно выплачивать.{effort}\n{hash}",
        "block_orphaned": "{coin}, {time}. Сеть продолжилась без него; начисления отменены.\n{hash}",
        "credit": "{coin}, {time}. К выплате после созревания блока.\nАккаунт {account}\nБлок {hash}",
        "payout_sent": "{coin}, {time}. Получатель {account}\nТранзакция {txid}",
        "payout_confirmed": "{coin}, {time}. Сеть подтвердила выплату на {account}\nТранзакция {txid}",
        "payout_given_up": "{coin}, {time}. Сумма вернулась на баланс и будет выплачена позже.\nАккаунт {account}",
        "payout_in_review": "{coin}, {time}. Ничего не потеряно, оператор разбирается.\nАккаунт {account}",
        "trouble": "{coin}, {time}. {subject}\n{detail}",
        "test": "Уведомления приходят сюда. {time}",
    },
    troubles={
        TroubleKind.NODE_DOWN: "Узел больше не годится для работы",
        TroubleKind.NODE_UP: "Узел снова годится для работы",
        TroubleKind.NO_TEMPLATE: "Узлов не осталось: майнеры работают над тем, что у них есть",
        TroubleKind.PAYOUTS_WAIT: "Выплаты стоят",
        TroubleKind.BATCH_IN_REVIEW: "Пакет выплат ждёт вашего решения",
        TroubleKind.BLOCK_HELD: "Блок ждёт вашего решения",
        TroubleKind.STREAM_GAP: "В потоке не хватает шар",
        TroubleKind.POISON_RECORD: "Запись не удалось учесть, она отложена",
        TroubleKind.SHARES_REFUSED: "Шары отклоняются: их некуда записать",
        TroubleKind.AUDIT_DIFFERENCE: "Проверка нашла расхождение",
    },
    reasons={
        "stale": "они опоздали",
        "duplicate": "они отправлены дважды",
        "low-difficulty": "им не хватает сложности",
        "invalid": "они неверны",
    },
    words={
        "default_worker": "Воркер без имени",
        "digest": "{count} {unit}",
        "more": "… и ещё {count} {unit}",
        "effort": " Усилие {percent}.",
        "unsubscribe": "Больше не присылать",
        "why": "Вы получили это письмо, потому что подписались на уведомления майнинг-пула.",
    },
)
